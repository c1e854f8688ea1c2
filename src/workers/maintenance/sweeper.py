"""Rescues jobs whose workers vanished. Every worker sweeps, and skips rows that another worker has locked."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from headrace.adapters.doorbell import Doorbell
from headrace.adapters.periodic import run_every
from headrace.domain.database import TRANSIENT, DatabaseAwayError, DatabaseBusyError
from headrace.domain.events.news import JobNews, Publisher
from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.maintenance.chore_report import ChoreReport

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 0.5
# After an outage of PostgreSQL a living holder renews its expired lease within this time.
_GRACE_SECONDS: Final = 1.0
_BATCH_SIZE: Final = 100


class Sweeper:
    """Requeues or fails jobs a second after their lease expired; fails queued jobs that are out of time.

    One job that cannot be rescued, or one of the two chores that fails, does not hold up the rest.
    """

    def __init__(
        self,
        job_queue: JobQueue,
        publisher: Publisher,
        doorbell: Doorbell,
        report: ChoreReport,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_queue = job_queue
        self._publisher = publisher
        self._doorbell = doorbell
        self._report = report
        self._clock = clock
        self._expired_since: dict[HeldLease, float] = {}
        self._was_logged: set[str] = set()

    async def run(self) -> None:
        """Sweep twice a second, until cancelled."""
        await run_every(_PERIOD_SECONDS, self.sweep)

    async def sweep(self) -> int:
        """Sweep once; return the number of jobs that were requeued or failed.

        Raises:
            DatabaseAwayError, DatabaseBusyError: a chore was put off.
        """
        count = 0
        put_off: DatabaseAwayError | DatabaseBusyError | None = None
        for name, chore in (("leases", self._rescue_lost), ("timeouts", self._fail_timed_out)):
            try:
                count += await self._report.run(name, chore)
                self._was_logged.discard(name)
            except TRANSIENT as error:
                put_off = error
            except Exception:  # noqa: BLE001  (the next sweep tries again)
                # Twice a second is too often for the same traceback.
                if name not in self._was_logged:
                    _log.exception("sweep_failed", chore=name)
                self._was_logged.add(name)
        if put_off is not None:
            raise put_off
        return count

    async def _rescue_lost(self) -> int:
        try:
            expired = await self._job_queue.fetch_expired()
            now = self._clock()
            self._expired_since = {lease: self._expired_since.get(lease, now) for lease in expired}
            lost = [lease for lease, since in self._expired_since.items() if now - since >= _GRACE_SECONDS]
            # Workers start at different places, so that they share the work.
            random.shuffle(lost)
            count = 0
            failures: list[Exception] = []
            for start in range(0, len(lost), _BATCH_SIZE):
                count += await self._rescue(lost[start : start + _BATCH_SIZE], failures)
        except TRANSIENT:
            self._expired_since.clear()
            raise
        if failures:
            raise failures[0]
        return count

    async def _rescue(self, leases: Sequence[HeldLease], failures: list[Exception]) -> int:
        """Rescue a batch; if PostgreSQL refuses its values, rescue each job by itself."""
        try:
            return self._announce(await self._job_queue.rescue(leases))
        except TRANSIENT:
            raise
        except Exception as error:  # noqa: BLE001  (reported when the others are rescued)
            if len(leases) == 1:
                failures.append(error)
                return 0
        return sum([await self._rescue([lease], failures) for lease in leases])

    async def _fail_timed_out(self) -> int:
        return self._announce(await self._job_queue.fail_timed_out())

    def _announce(self, news: Sequence[JobNews]) -> int:
        if news:
            _log.warning("leases_ran_out", jobs=[str(job_news.job_id) for job_news in news])
            self._publisher.publish(news)
            self._doorbell.ring(self._job_queue.worker.queues)
        return len(news)
