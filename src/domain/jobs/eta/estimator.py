"""How long a job still takes, as an interval: what is left of its steps times what they took lately. Pure."""

from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import Struct

from headrace.domain.events.types import Eta

MIN_SAMPLES: Final = 5


class StepTime(Struct, frozen=True, kw_only=True):
    """What a step took lately, in seconds, from short to long: an *item* of it, and the *whole*."""

    samples: int
    item: tuple[float, float]
    whole: tuple[float, float]


class RemainingWork(Protocol):
    """How much of an attempt is left."""

    def remaining_items(self, name: str) -> float | None:
        """The items of a step that are not done, parts of items included; None: it has none yet."""


class EtaEstimator:
    """What is known of the times of one pipeline version's steps; *after* is its graph, in order."""

    def __init__(self, after: Mapping[str, tuple[str, ...]]) -> None:
        self._after = after
        self.times: Mapping[str, StepTime] = {}

    def eta(self, progress: RemainingWork) -> Eta | None:
        """None where a step that is not done has been seen too seldom to say.

        The longest way through the graph counts: steps that need not wait for each other run side by side.
        """
        soonest: dict[str, float] = {}
        latest: dict[str, float] = {}
        for name, before in self._after.items():
            left = self._left(name, progress)
            if left is None:
                return None
            soonest[name] = left[0] + max((soonest[one] for one in before), default=0.0)
            latest[name] = left[1] + max((latest[one] for one in before), default=0.0)
        low, high = max(soonest.values(), default=0.0), max(latest.values(), default=0.0)
        return Eta(low_seconds=round(low, 1), high_seconds=round(high, 1))

    def _left(self, name: str, progress: RemainingWork) -> tuple[float, float] | None:
        left = progress.remaining_items(name)
        if left == 0:
            return 0.0, 0.0
        time = self.times.get(name)
        if time is None or time.samples < MIN_SAMPLES:
            return None
        return time.whole if left is None else (time.item[0] * left, time.item[1] * left)
