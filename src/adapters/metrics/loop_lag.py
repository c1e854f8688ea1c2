"""Measures how late an event loop runs what is due. Other threads may read it while the loop is blocked."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

TICK_SECONDS: Final = 0.5
# Prometheus scrapes once a minute by default, and should see each peak once.
_WINDOW_SECONDS: Final = 60.0


class LoopLag:
    """The largest delay of the loop within the last minute. `run` is its task."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked_at = clock()
        # Delays with their times: each is larger than those after it, so the first is the largest.
        self._peaks: deque[tuple[float, float]] = deque()

    async def run(self) -> None:
        """Tick twice a second, until cancelled."""
        self.start()
        while True:
            self.tick()
            await asyncio.sleep(TICK_SECONDS)

    def start(self) -> None:
        """Measure from now on: the time before the loop ran is no lag."""
        self._ticked_at = self._clock()

    def tick(self) -> None:
        """Record that the loop runs."""
        now = self._clock()
        lag = max(now - self._ticked_at - TICK_SECONDS, 0.0)
        self._ticked_at = now
        while self._peaks and self._peaks[-1][1] <= lag:
            self._peaks.pop()
        self._peaks.append((now, lag))
        while self._peaks[0][0] < now - _WINDOW_SECONDS:
            self._peaks.popleft()

    @property
    def silent_seconds(self) -> float:
        """The time since the loop ran last."""
        return self._clock() - self._ticked_at

    @property
    def seconds(self) -> float:
        """The largest delay of the last minute, also one that lasts."""
        try:
            peak = self._peaks[0][1]
        except IndexError:  # before the first tick, or between two changes of another thread
            peak = 0.0
        return max(peak, self.silent_seconds - TICK_SECONDS)
