"""Notes whether somebody reads the metrics of this process: what only they need is not done otherwise."""

import time
from collections.abc import Callable
from typing import Final

# Prometheus scrapes once a minute by default, and may miss one.
_RECENT_SECONDS: Final = 150.0


class Scrapes:
    """The time of the last scrape."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_at = float("-inf")

    def note(self) -> None:
        """Record that the metrics are read now."""
        self._last_at = self._clock()

    @property
    def are_recent(self) -> bool:
        return self._clock() - self._last_at <= _RECENT_SECONDS
