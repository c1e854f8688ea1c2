"""Publishes the progress frames of one attempt, at most one frame per step every 100 ms."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import UNSET

from headrace.domain.events.news import Publisher
from headrace.domain.events.types import Progress, ProgressFrame
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.progress import JobProgress
from headrace.workers.attempt.outcome import AttemptStatus

_PERIOD_SECONDS: Final = 0.1
# Ends of steps share one throttle key, so that thousands of short items do not make thousands of frames.
_STEP_ENDS: Final = ""
_QUIET_SECONDS: Final = 1.0


class ProgressSender:
    """Throttles progress reports at their source: the first leaves at once, later ones are coalesced."""

    def __init__(
        self,
        claim: Claim,
        progress: JobProgress,
        publisher: Publisher,
        status: AttemptStatus,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """*clock* returns seconds; by default it is the time of the running event loop."""
        self._claim = claim
        self._progress = progress
        self._publisher = publisher
        self._status = status
        self._clock = clock or asyncio.get_running_loop().time
        self._sent_at: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_dirty = False
        self._is_unrepeated = False
        self._last_sent_at = 0.0

    def take_dirty(self) -> bool:
        """Return whether there was progress since the last call."""
        dirty, self._is_dirty = self._is_dirty, False
        return dirty

    def report(self, name: str, key: str, progress: Progress) -> None:
        """Record a report of a step run; send a frame now, or when the 100 ms of its step are over."""
        self._progress.report(name, key, progress)
        self._send_soon(self._progress.shown_key(name, key))

    def frame(self, head: int) -> ProgressFrame:
        """Return a frame with the present progress, which follows event number *head*."""
        estimator = self._claim.eta_estimator
        return ProgressFrame(
            head=head,
            attempt=self._claim.attempt,
            fence=self._claim.fence,
            fraction=self._progress.fraction,
            steps=dict(self._progress.steps),
            eta=(estimator and estimator.estimate(self._progress)) or UNSET,
        )

    def flush(self) -> None:
        """Send a frame soon because a step has ended."""
        self._send_soon(_STEP_ENDS)

    def repeat(self) -> None:
        """Send the last frame once more after a second of silence, for clients that connected since."""
        if self._is_unrepeated and self._clock() - self._last_sent_at >= _QUIET_SECONDS:
            self._is_unrepeated = False
            self._publish()

    def close(self) -> None:
        """Drop the frame that is scheduled, if any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_soon(self, entry: str) -> None:
        self._is_dirty = True
        delay = self._sent_at.get(entry, 0.0) + _PERIOD_SECONDS - self._clock()
        if delay <= 0:
            self._send(entry)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._send_late, entry)

    def _send_late(self, entry: str) -> None:
        self._timer = None
        self._send(entry)

    def _send(self, entry: str) -> None:
        self._is_unrepeated = True
        self._last_sent_at = self._sent_at[entry] = self._clock()
        self._publish()

    def _publish(self) -> None:
        # Events may be committed before the frame is made, and a frame must not name events that come later.
        frame = partial(self.frame, self._status.head)
        self._publisher.publish_progress(self._claim.job_id, frame)
