"""Records how the chores of a worker go, so that readiness and `doctor` can say which ones fail."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import TRANSIENT, DatabaseMisconfiguredError, DatabaseRefusingError

_log = structlog.get_logger(__name__)

RunOnce = Callable[[], Awaitable[int]]

_REPEAT_SECONDS: Final = 600.0
_MAX_PUT_OFFS: Final = 3


class ChoreReport:
    """Stores each change between success and failure, and repeats an unchanged outcome every ten minutes.

    What cannot be stored is logged: a report never fails a chore.
    """

    def __init__(
        self, repository: ChoreRepository, worker: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*worker*: the id of the worker whose chores these are."""
        self._repository = repository
        self._worker = worker
        self._clock = clock
        self._stored: dict[str, tuple[bool, float]] = {}
        self._put_offs: dict[str, int] = {}

    async def run(self, name: str, run_once: RunOnce) -> int:
        """Call *run_once*, record its outcome under *name*, and return its result or raise its error.

        A transient error counts as a failure only when PostgreSQL refuses the chore (a missing right, a full
        disk), or the third time in a row.
        """
        try:
            count = await run_once()
        except TRANSIENT as error:
            self._put_offs[name] = self._put_offs.get(name, 0) + 1
            if isinstance(error, DatabaseRefusingError) or self._put_offs[name] >= _MAX_PUT_OFFS:
                await self._store(name, error)
            raise
        except Exception as error:
            await self._store(name, error)
            raise
        self._put_offs.pop(name, None)
        await self._store(name, None)
        return count

    def reporting(self, name: str, run_once: RunOnce) -> RunOnce:
        """Return *run_once* with its outcomes recorded under *name*."""

        async def run() -> int:
            return await self.run(name, run_once)

        return run

    async def _store(self, name: str, error: Exception | None) -> None:
        has_failed = error is not None
        now = self._clock()
        last = self._stored.get(name)
        if last is not None and last[0] == has_failed and now - last[1] < _REPEAT_SECONDS:
            return
        try:
            text = None if error is None else _text_of(error)
            await self._repository.store_outcome(self._worker, name, text)
        except TRANSIENT:
            # An outage is logged once, and the next run of the chore reports again.
            return
        except Exception as failure:  # noqa: BLE001  (the chore itself is done)
            _log.warning("chore_not_recorded", chore=name, reason=str(failure))
        else:
            self._stored[name] = (has_failed, now)


def _text_of(error: Exception) -> str:
    text = error.reason if isinstance(error, DatabaseMisconfiguredError) else str(error)
    lines = text.splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
