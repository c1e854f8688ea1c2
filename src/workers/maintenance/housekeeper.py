"""The hourly chores of a worker, such as creating event partitions ahead of time. Pruning is `pruner`."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from headrace.adapters.periodic import run_every
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import TRANSIENT, Database, DatabaseRefusingError, is_outage
from headrace.domain.events.partition_mover import MAX_MOVED_ROWS
from headrace.domain.events.partitions import create_partitions
from headrace.domain.pipelines.removals import delete_removed
from headrace.workers.maintenance.chore_report import ChoreReport
from headrace.workers.maintenance.scratch_folders import remove_scratch_folders

_log = structlog.get_logger(__name__)

_TICK_SECONDS: Final = 10.0
_PERIOD_SECONDS: Final = 3600.0
_JITTER: Final = 0.1
# A chore that was put off is due again at the next tick. One that fails may need an operator.
_FAILED_SECONDS: Final = 300.0

Chore = Callable[[], Awaitable[None]]


def hourly_chores(database: Database) -> dict[str, Chore]:
    """Return the chores of every hour by the name that log lines and readiness give them."""
    return {
        "partitions": lambda: create_partitions(database, datetime.now(UTC), max_rows=MAX_MOVED_ROWS),
        "removed_pipelines": lambda: delete_removed(database),
        "scratch_folders": lambda: remove_scratch_folders(ChoreRepository(database)),
    }


class Housekeeper:
    """Runs each chore once an hour. A chore that fails holds up neither the others nor the worker's jobs."""

    def __init__(
        self, chores: Mapping[str, Chore], report: ChoreReport, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._chores = chores
        self._report = report
        self._clock = clock
        self._due_at = dict.fromkeys(chores, float("-inf"))

    async def run(self) -> None:
        """Keep house now and whenever a chore is due, until cancelled."""
        await run_every(_TICK_SECONDS, self.keep_house, waits_first=False)

    async def keep_house(self) -> int:
        """Run the due chores and return how many succeeded."""
        count = 0
        for name, chore in self._chores.items():
            if self._clock() >= self._due_at[name]:
                count += await self._run(name, chore)
        return count

    async def _run(self, name: str, chore: Chore) -> bool:
        """Run one chore, and set when it is due again."""
        pause = _PERIOD_SECONDS * random.uniform(1.0 - _JITTER, 1.0)  # noqa: S311
        has_succeeded = False
        try:
            await self._report.run(name, _counted(chore))
            has_succeeded = True
        except TRANSIENT as error:
            if not is_outage(error):
                _log.warning("housekeeping_put_off", chore=name, reason=error.reason)
            pause = _FAILED_SECONDS if isinstance(error, DatabaseRefusingError) else 0.0
        except Exception:  # noqa: BLE001  (it runs again later)
            _log.exception("housekeeping_failed", chore=name)
            pause = _FAILED_SECONDS
        self._due_at[name] = self._clock() + pause
        return has_succeeded


def _counted(chore: Chore) -> Callable[[], Awaitable[int]]:
    async def run() -> int:
        await chore()
        return 1

    return run
