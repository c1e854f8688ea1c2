"""How long the claims of this worker have taken of late."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_WINDOW_SECONDS: Final = 30.0
_MAX_CLAIMS: Final = 1_000
_MIN_CLAIMS: Final = 5


class ClaimTimes:
    """Measures claims, and returns a percentile of the last half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claims: deque[tuple[float, float]] = deque(maxlen=_MAX_CLAIMS)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the claim in the block. A claim that fails counts as well."""
        began = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            self._claims.append((ended, ended - began))

    def p95(self) -> float | None:
        """Return the seconds that 95 % of the claims have not exceeded; None if there were only a few."""
        since = self._clock() - _WINDOW_SECONDS
        while self._claims and self._claims[0][0] < since:
            self._claims.popleft()
        if len(self._claims) < _MIN_CLAIMS:
            return None
        seconds = sorted(took for _, took in self._claims)
        return seconds[min(len(seconds) - 1, len(seconds) * 95 // 100)]
