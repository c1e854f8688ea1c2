"""Logs the start and the end of each attempt, one line each, as long as a worker runs few jobs a second."""

import asyncio
import time
from collections import Counter
from typing import Final

import structlog

from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.pipelines.versions import version_key

_log = structlog.get_logger(__name__)

JOBS_PER_SECOND: Final = 20
"""A line costs about half the processor time of a small job, so no more jobs than these have lines."""
_SUMMARY_SECONDS: Final = 1.0


class Allowance:
    """A number of lines that is refilled with each second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = per_second
        self._since = 0.0

    def take(self, now: float) -> bool:
        """Take one, and return whether there was one; *now* is the monotonic clock."""
        if now - self._since >= 1.0:
            self._left, self._since = self._per_second, now
        if self._left <= 0:
            return False
        self._left -= 1
        return True


class JobLog:
    """The lines of a worker about its jobs.

    In each second the first 20 attempts have a line for their start and one for their end, and 20 more that
    fail have one for their end. All others are counted in one line a second, by the state of their job. At
    level `debug` every attempt has its lines.
    """

    def __init__(self, level: str) -> None:
        self._is_on = level in ("debug", "info")
        self._logs_all = level == "debug"
        self._jobs = Allowance(JOBS_PER_SECOND)
        self._failures = Allowance(JOBS_PER_SECOND)
        self._unlogged: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        """The attempts that have ended, by state."""

    def on_start(self, claim: Claim) -> bool:
        """Log that an attempt starts; return whether its end is to be logged as well."""
        if not self._is_on or not (self._logs_all or self._jobs.take(time.monotonic())):
            return False
        _log.info(
            "job_started",
            pipeline=version_key(claim.pipeline, claim.version),
            state="running",
            attempt=claim.attempt,
            queue=claim.queue,
        )
        return True

    def on_end(self, claim: Claim, state: str, error_code: str | None, *, is_logged: bool) -> None:
        """Log or count the end of an attempt. *state*: that of the job, `lost` if another attempt has it."""
        self.totals[state] += 1
        if not self._is_on:
            return
        now = time.monotonic()
        if not is_logged and not (state == "failed" and self._failures.take(now)):
            self._count(state)
            return
        _log.info(
            "job_ended",
            pipeline=version_key(claim.pipeline, claim.version),
            state=state,
            attempt=claim.attempt,
            seconds=round(now - claim.received_at, 3),
            **({} if error_code is None else {"error_code": error_code}),
        )

    def flush(self) -> None:
        """Log the counts of the attempts that had no line of their own."""
        if self._unlogged:
            _log.info("jobs_ended", **self._unlogged)
            self._unlogged.clear()

    def _count(self, state: str) -> None:
        if not self._unlogged:
            asyncio.get_running_loop().call_later(_SUMMARY_SECONDS, self.flush)
        self._unlogged[state] += 1
