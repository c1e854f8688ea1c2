"""Rescues jobs whose workers vanished. Every worker sweeps, and skips rows that another worker has locked."""

import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from headrace.adapters.doorbell import Doorbell
from headrace.adapters.periodic import run_every
from headrace.domain.database import TRANSIENT
from headrace.domain.events.news import Publisher
from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.domain.jobs.attempts.queue import JobQueue

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 0.5
# After an outage of PostgreSQL a living holder renews its expired lease within this time.
_GRACE_SECONDS: Final = 1.0
_BATCH_SIZE: Final = 100


class Sweeper:
    """Requeues or fails jobs a second after their lease expired; fails queued jobs that are out of time."""

    def __init__(
        self,
        job_queue: JobQueue,
        publisher: Publisher,
        doorbell: Doorbell,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_queue = job_queue
        self._publisher = publisher
        self._doorbell = doorbell
        self._clock = clock
        self._expired_since: dict[HeldLease, float] = {}

    async def run(self) -> None:
        """Sweep twice a second, until cancelled."""
        await run_every(_PERIOD_SECONDS, self.sweep)

    async def sweep(self) -> int:
        """Sweep once; return the number of jobs that were requeued or failed."""
        try:
            expired = await self._job_queue.fetch_expired()
            now = self._clock()
            self._expired_since = {lease: self._expired_since.get(lease, now) for lease in expired}
            lost = [lease for lease, since in self._expired_since.items() if now - since >= _GRACE_SECONDS]
            # Workers start at different places, so that they share the work.
            random.shuffle(lost)
            news = await self._job_queue.fail_timed_out()
            for start in range(0, len(lost), _BATCH_SIZE):
                news += await self._job_queue.rescue(lost[start : start + _BATCH_SIZE])
        except TRANSIENT:
            self._expired_since.clear()
            raise
        if news:
            _log.warning("leases_ran_out", jobs=[str(job_news.job_id) for job_news in news])
            self._publisher.publish(news)
            self._doorbell.ring(self._job_queue.worker.queues)
        return len(news)
