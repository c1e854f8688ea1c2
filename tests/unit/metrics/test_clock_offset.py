"""How far the clock of PostgreSQL is ahead, also while the clock of the process is set."""

from collections.abc import Sequence
from typing import Any

from headrace.adapters.metrics.clock_offset import ClockOffset
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.domain.database import Row


class Times:
    """A database whose statements take 0.2 s, and the clocks of the process that asks it."""

    def __init__(self) -> None:
        self.timer = 100.0
        self.clock_ahead = 1_000_000.0

    def clock(self) -> float:
        return self.timer + self.clock_ahead

    async def fetch(self, _: str, *__: Any) -> Sequence[Row]:
        self.timer += 0.1
        seconds = 1_000_000.0 + self.timer
        self.timer += 0.1
        return [{"seconds": seconds}]


async def test_the_offset_is_measured_again_although_the_clock_was_set_back() -> None:
    times = Times()
    scrapes = Scrapes()
    scrapes.note()
    offset = ClockOffset(times, scrapes, clock=times.clock, timer=lambda: times.timer)
    assert await offset.measure() == 1
    before = offset.seconds or 0.0

    times.clock_ahead -= 3_600.0
    times.timer += 20.0
    too_early = await offset.measure()
    times.timer += 10.0

    assert (too_early, await offset.measure()) == (0, 1)
    assert round(before, 3) == 0.0
    assert round(offset.seconds or 0.0, 3) == 3_600.0
