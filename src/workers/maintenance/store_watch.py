"""Looks whether this worker can write files, so that readiness says so before a step wants to."""

import contextlib
from typing import Final

from headrace.adapters.outages import Outage
from headrace.adapters.periodic import run_every
from headrace.adapters.store_errors import StoreError
from headrace.workers.maintenance.chore_report import ChoreReport

_SECONDS: Final = 10.0


class StoreWatch:
    """Probes the store of files every ten seconds. Its outages are reported as failures of a chore."""

    def __init__(self, storage: Outage, report: ChoreReport) -> None:
        self._storage = storage
        self._run = report.reporting("storage", self.check)

    async def run(self) -> None:
        """Look until cancelled. The outage itself is logged by `Outage`."""
        await run_every(
            _SECONDS, self._check_reported, waits_first=False, put_off_event="storage_not_checked"
        )

    async def check(self) -> int:
        """Probe the store once.

        Raises:
            StoreError: it cannot be written.
        """
        await self._storage.check()
        if (trouble := self._storage.trouble) is not None:
            raise StoreError(f"{trouble.condition}: {trouble.reason}")
        return 0

    async def _check_reported(self) -> int:
        with contextlib.suppress(StoreError):
            return await self._run()
        return 0
