"""Keeps the leases of a worker: renews them, and stops attempts whose lease was lost or job cancelled."""

import time
from typing import Final
from uuid import UUID

import msgspec
import structlog

from headrace.adapters.periodic import run_every
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.attempt.outcome import StopReason
from headrace.workers.attempt.runner import Attempt
from headrace.workers.monitor import Monitor

_log = structlog.get_logger(__name__)

_CANCEL_PERIOD_SECONDS: Final = 0.4
# Much shorter than the grace time in which sweepers leave an expired lease alone.
_RETRY_SECONDS: Final = 0.3


class Leases:
    """The attempts that this process runs, by lease, with the loops that renew and cancel them."""

    def __init__(
        self, job_queue: JobQueue, *, heartbeat_seconds: float, monitor: Monitor | None = None
    ) -> None:
        self._job_queue = job_queue
        self._heartbeat_seconds = heartbeat_seconds
        self._monitor = monitor
        self._beat_at = time.monotonic()
        self._orphans: set[HeldLease] = set()
        self._added_at: dict[HeldLease, float] = {}
        self.attempts: dict[HeldLease, Attempt] = {}

    def add(self, attempt: Attempt) -> None:
        lease = attempt.claim.lease
        self.attempts[lease] = attempt
        self._added_at[lease] = time.monotonic()

    def remove(self, attempt: Attempt) -> None:
        lease = attempt.claim.lease
        self.attempts.pop(lease, None)
        self._added_at.pop(lease, None)

    @property
    def seconds_since_beat(self) -> float:
        """The time since PostgreSQL has answered a heartbeat, or since the start."""
        return time.monotonic() - self._beat_at

    async def run_heartbeat(self) -> None:
        """Beat until cancelled.

        Attempts go on while PostgreSQL is away; afterwards the fence decides whose writes count.
        """
        await run_every(
            self._heartbeat_seconds,
            self.beat,
            jitter=0.1,
            waits_first=False,
            retry_seconds=_RETRY_SECONDS,
            put_off_event="heartbeat_missed",
        )

    async def run_cancel_watch(self) -> None:
        """Stop attempts whose job is to be cancelled, every 0.4 s, until cancelled itself."""
        await run_every(_CANCEL_PERIOD_SECONDS, self.stop_cancelled, jitter=0.0)

    async def beat(self) -> int:
        """Renew all leases, stop attempts that lost theirs, release orphans; return the number held.

        An orphan is a lease of this worker for which no attempt runs here, such as that of a claim whose
        answer was lost.
        """
        began = time.monotonic()
        held = await self._renew(self._unsaved_progress())
        self._beat_at = time.monotonic()
        for attempt in self.attempts.values():
            attempt.sender.repeat()
        for lease, attempt in list(self.attempts.items()):
            if lease not in held and self._added_at[lease] < began:
                attempt.stop(StopReason.LEASE_LOST)
        # The answer to a claim may be on its way, so a lease is stale after two beats without an attempt.
        orphans = held - self.attempts.keys()
        stale = orphans & self._orphans
        self._orphans = orphans
        if stale:
            _log.warning("handing_back_unknown", jobs=[str(job_id) for job_id, _ in stale])
            await self._job_queue.release(sorted(stale))
            if self._monitor is not None:
                self._monitor.on_hand_back(len(stale))
        return len(held)

    async def stop_cancelled(self) -> int:
        """Stop the running attempts whose job is to be cancelled; return their number."""
        if not self.attempts:
            return 0
        cancelled = await self._job_queue.fetch_cancel_requests() & self.attempts.keys()
        for lease in cancelled:
            self.attempts[lease].stop(StopReason.CANCELLED)
        return len(cancelled)

    def _unsaved_progress(self) -> list[tuple[UUID, int, float, str]]:
        """Return job, fence, fraction and steps (JSON) of the attempts with progress since the last beat."""
        progress = []
        for (job_id, fence), attempt in self.attempts.items():
            if attempt.sender.take_dirty():
                steps = msgspec.json.encode(attempt.progress.steps).decode()
                progress.append((job_id, fence, attempt.progress.fraction, steps))
        return progress

    async def _renew(self, progress: list[tuple[UUID, int, float, str]]) -> set[HeldLease]:
        try:
            return await self._job_queue.renew(progress)
        except DatabaseBusyError:
            return await self._job_queue.renew(progress, skip_locked=True)
        except DatabaseAwayError:
            raise
        except Exception:  # noqa: BLE001  (bad progress of one job must not cost all leases)
            _log.exception("progress_refused")
            return await self._job_queue.renew([])
