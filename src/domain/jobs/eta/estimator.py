"""Estimates how long a job still takes from the work left in each step and its recent times. Pure."""

from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import Struct

from headrace.domain.events.types import Eta

MIN_SAMPLES: Final = 5


class StepTime(Struct, frozen=True, kw_only=True):
    """The recent times of a step, in seconds, as (short, long): of one *item*, and of the *whole* step."""

    samples: int
    item: tuple[float, float]
    whole: tuple[float, float]


class RemainingWork(Protocol):
    """The work that is left in an attempt."""

    def remaining_items(self, name: str) -> float | None:
        """Return the unfinished items of a step, with fractions; None: their number is not known yet."""


class EtaEstimator:
    """Estimates the jobs of one pipeline version.

    *dependencies* is its graph: for each step the steps before it, in topological order.
    """

    def __init__(self, dependencies: Mapping[str, tuple[str, ...]]) -> None:
        self._dependencies = dependencies
        self.times: Mapping[str, StepTime] = {}

    def estimate(self, work: RemainingWork) -> Eta | None:
        """Return the longest path through the graph; None when an unfinished step has too few samples."""
        soonest: dict[str, float] = {}
        latest: dict[str, float] = {}
        for name, dependencies in self._dependencies.items():
            remaining = self._remaining(name, work)
            if remaining is None:
                return None
            soonest[name] = remaining[0] + max((soonest[step] for step in dependencies), default=0.0)
            latest[name] = remaining[1] + max((latest[step] for step in dependencies), default=0.0)
        low, high = max(soonest.values(), default=0.0), max(latest.values(), default=0.0)
        return Eta(low_seconds=round(low, 1), high_seconds=round(high, 1))

    def _remaining(self, name: str, work: RemainingWork) -> tuple[float, float] | None:
        items = work.remaining_items(name)
        if items == 0:
            return 0.0, 0.0
        time = self.times.get(name)
        if time is None or time.samples < MIN_SAMPLES:
            return None
        return time.whole if items is None else (time.item[0] * items, time.item[1] * items)
