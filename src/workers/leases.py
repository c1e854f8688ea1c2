"""The heartbeat of a worker: renew its leases, find out what it lost and what it is to cancel."""

import asyncio
import random
import time
from typing import Final
from uuid import UUID

import msgspec
import structlog

from headrace.domain.database import TRANSIENT, DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.attempt.outcome import StopReason
from headrace.workers.attempt.runner import Attempt

_log = structlog.get_logger(__name__)

_CANCEL_EVERY_SECONDS: Final = 0.4
# Well below what the sweepers give a lease that has run out.
_AGAIN_SECONDS: Final = 0.3


class Leases:
    """The attempts that run here, and the two loops that look after them."""

    def __init__(self, execution: JobQueue, *, every_seconds: float) -> None:
        self._execution = execution
        self._every_seconds = every_seconds
        self._unknown: set[tuple[UUID, int]] = set()
        self.attempts: dict[tuple[UUID, int], Attempt] = {}
        self._since: dict[tuple[UUID, int], float] = {}

    def add(self, attempt: Attempt) -> None:
        key = (attempt.claim.job_id, attempt.claim.fence)
        self.attempts[key] = attempt
        self._since[key] = time.monotonic()

    def remove(self, attempt: Attempt) -> None:
        key = (attempt.claim.job_id, attempt.claim.fence)
        self.attempts.pop(key, None)
        self._since.pop(key, None)

    async def heartbeat(self) -> None:
        """Renew until cancelled. While PostgreSQL is away attempts go on: the fence decides afterwards."""
        while True:
            try:
                await self.beat()
            except TRANSIENT as error:
                _log.warning("heartbeat_missed", reason=error.reason)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            await asyncio.sleep(self._every_seconds * random.uniform(0.9, 1.0))  # noqa: S311

    async def beat(self) -> None:
        """Renew once, and settle what differs between the database and this process."""
        began = time.monotonic()
        dirty = [attempt for attempt in self.attempts.values() if attempt.sender.take_dirty()]
        progress = [
            (
                attempt.claim.job_id,
                attempt.claim.fence,
                frame.fraction,
                msgspec.json.encode(frame.steps).decode(),
            )
            for attempt in dirty
            for frame in (attempt.sender.frame(),)
        ]
        held = await self._renew(progress)
        for attempt in self.attempts.values():
            attempt.sender.repeat()
        for key, attempt in list(self.attempts.items()):
            if key not in held and self._since[key] < began:
                attempt.stop(StopReason.LEASE_LOST)
        # A claim may be on its way while this statement runs: only what stays unknown is handed back.
        unknown = held - self.attempts.keys()
        stale = unknown & self._unknown
        self._unknown = unknown
        if stale:
            _log.warning("handing_back_unknown", jobs=[str(job_id) for job_id, _ in stale])
            await self._execution.release(sorted(stale))

    async def _renew(self, progress: list[tuple[UUID, int, float, str]]) -> set[tuple[UUID, int]]:
        try:
            return await self._execution.renew(progress)
        except DatabaseBusyError:
            return await self._execution.renew(progress, skip_locked=True)
        except DatabaseAwayError:
            raise
        except Exception:  # noqa: BLE001  (no progress of one job is worth the leases of all)
            _log.exception("progress_refused")
            return await self._execution.renew([])

    async def watch_cancels(self) -> None:
        """Ask every 0.4 s which of the running jobs are to be cancelled, until cancelled itself."""
        while True:
            await asyncio.sleep(_CANCEL_EVERY_SECONDS)
            if not self.attempts:
                continue
            try:
                wanted = await self._execution.fetch_cancel_requests()
            except TRANSIENT:
                continue
            for key in wanted & self.attempts.keys():
                self.attempts[key].stop(StopReason.CANCELLED)
