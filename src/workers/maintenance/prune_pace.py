"""How much the pruner does at once, and how long it pauses: claims and submissions come first."""

import time
from collections.abc import Callable
from typing import Final

from headrace.workers.claim_times import ClaimTimes

_MAX_SHARE: Final = 0.2
_MIN_SHARE: Final = 0.2 / 64
_SLOW_CLAIM_SECONDS: Final = 0.05
# The share changes once in a while, because a slow claim counts for half a minute.
_ADJUST_SECONDS: Final = 5.0
_MAX_ROWS: Final = 1_000
_MIN_ROWS: Final = 20
_FIRST_ROWS: Final = 200
# A caller that changes a row which is being removed waits for the end of the statement.
_LONG_STATEMENT_SECONDS: Final = 0.05
_SHORT_STATEMENT_SECONDS: Final = 0.02


class PrunePace:
    """Bounds the pruner's share of the time, and the length of its statements.

    *share* of the time is spent in statements: a fifth at most. It is halved every few seconds while the
    claims of this worker are slow, and doubled when they are fast again.
    """

    def __init__(
        self,
        claim_times: ClaimTimes | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claim_times = claim_times
        self._clock = clock
        self._adjusted_at = float("-inf")
        self.share = _MAX_SHARE
        self.rows = _FIRST_ROWS
        """How many rows the next statement may remove."""

    def pause_after(self, took: float) -> float:
        """Return the seconds to pause after a statement that *took* so many."""
        self._adjust_rows(took)
        self._adjust_share()
        return took * (1 / self.share - 1)

    def _adjust_rows(self, took: float) -> None:
        if took > _LONG_STATEMENT_SECONDS:
            self.rows = max(self.rows // 2, _MIN_ROWS)
        elif took < _SHORT_STATEMENT_SECONDS:
            self.rows = min(self.rows * 3 // 2, _MAX_ROWS)

    def _adjust_share(self) -> None:
        now = self._clock()
        if self._claim_times is None or now - self._adjusted_at < _ADJUST_SECONDS:
            return
        self._adjusted_at = now
        p95 = self._claim_times.p95()
        if p95 is not None and p95 > _SLOW_CLAIM_SECONDS:
            self.share = max(self.share / 2, _MIN_SHARE)
        else:
            self.share = min(self.share * 2, _MAX_SHARE)
