"""Measures by how much the clock of PostgreSQL is ahead of that of this process."""

import time
from collections.abc import Callable
from typing import Final

from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.periodic import run_every
from headrace.domain.database import Database

_TICK_SECONDS: Final = 2.0
_PERIOD_SECONDS: Final = 30.0
_TRIES: Final = 3
_NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::float8 AS seconds"


class ClockOffset:
    """The offset is exact to half a round trip. It is measured while somebody reads the metrics."""

    def __init__(
        self,
        database: Database,
        scrapes: Scrapes,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """*clock* is the one that is measured. *timer* measures durations, also while the clock is set."""
        self._database = database
        self._scrapes = scrapes
        self._clock = clock
        self._timer = timer
        self._measured_at = float("-inf")
        self.seconds: float | None = None
        """None until it is known."""

    async def run(self) -> None:
        """Measure every 30 s, until cancelled."""
        await run_every(_TICK_SECONDS, self.measure)

    async def measure(self) -> int:
        """Measure the offset if it is time, by the fastest of three statements; return 1 if it was."""
        if not self._scrapes.are_recent or self._timer() - self._measured_at < _PERIOD_SECONDS:
            return 0
        self._measured_at = self._timer()
        fastest = float("inf")
        for _ in range(_TRIES):
            at, began = self._clock(), self._timer()
            (row,) = await self._database.fetch(_NOW)
            took = self._timer() - began
            if took < fastest:
                fastest = took
                self.seconds = row["seconds"] - (at + took / 2)
        return 1
