"""Progress frames of one attempt: at once, and then every 100 ms per step at most."""

import asyncio
from typing import Final

from msgspec import UNSET

from headrace.domain.events.news import Publisher
from headrace.domain.events.types import Progress, ProgressFrame
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.progress import JobProgress
from headrace.workers.attempt.outcome import AttemptStatus

_EVERY_SECONDS: Final = 0.1
# Ends of steps share one allowance: thousands of short items are no thousands of frames.
_ENDS: Final = ""
_QUIET_SECONDS: Final = 1.0


class ProgressSender:
    """Throttles at the source: what a step reports too often costs nothing downstream."""

    def __init__(
        self, claim: Claim, progress: JobProgress, publisher: Publisher, standing: AttemptStatus
    ) -> None:
        self._claim = claim
        self._progress = progress
        self._publisher = publisher
        self._standing = standing
        self._sent_at: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_dirty = False
        self._is_fresh = False
        self._newest_at = 0.0

    def take_dirty(self) -> bool:
        """Whether there was news since the last call."""
        dirty, self._is_dirty = self._is_dirty, False
        return dirty

    def report(self, name: str, key: str, progress: Progress) -> None:
        """Take a report; a frame leaves now, or when this step's 100 ms are over."""
        self._progress.report(name, key, progress)
        self._send_soon(self._progress.entry(name, key))

    def frame(self) -> ProgressFrame:
        """The newest frame."""
        estimator = self._claim.eta_estimator
        return ProgressFrame(
            head=self._standing.head,
            attempt=self._claim.attempt,
            fence=self._claim.fence,
            fraction=self._progress.fraction,
            steps=dict(self._progress.steps),
            eta=(estimator and estimator.eta(self._progress)) or UNSET,
        )

    def flush(self) -> None:
        """Send a frame soon: a step has ended."""
        self._send_soon(_ENDS)

    def repeat(self) -> None:
        """Send a frame once more that has been the newest for a while: who came after it hears of it now."""
        if self._is_fresh and asyncio.get_running_loop().time() - self._newest_at >= _QUIET_SECONDS:
            self._is_fresh = False
            self._publisher.publish_progress(self._claim.job_id, self.frame())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_soon(self, entry: str) -> None:
        self._is_dirty = True
        loop = asyncio.get_running_loop()
        wait = self._sent_at.get(entry, 0.0) + _EVERY_SECONDS - loop.time()
        if wait <= 0:
            self._send(entry)
        elif self._timer is None:
            self._timer = loop.call_later(wait, self._send_late, entry)

    def _send_late(self, entry: str) -> None:
        self._timer = None
        self._send(entry)

    def _send(self, entry: str) -> None:
        self._is_fresh = True
        self._newest_at = self._sent_at[entry] = asyncio.get_running_loop().time()
        self._publisher.publish_progress(self._claim.job_id, self.frame())
