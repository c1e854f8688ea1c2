"""The arq worker: its life cycle and signals are arq's, what it runs is leased from PostgreSQL.

arq's own claim is not used. A ring wakes the worker (a blocking wait, no polling); then, and once a second
anyway, it claims due jobs in one statement. Without Redis it goes on claiming.
"""

import asyncio
import random
import time
from signal import Signals
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func

from headrace.adapters import doorbell
from headrace.adapters.redis_client import REDIS_ERRORS
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import TRANSIENT
from headrace.domain.events.news import Publisher
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.attempt.outcome import StopReason
from headrace.workers.attempt.runner import Attempt
from headrace.workers.attempt.waiting import StopSignal, first_of
from headrace.workers.leases import Leases
from headrace.workers.resources import WorkerResources

_log = structlog.get_logger(__name__)

# A job that comes due rings for nobody, and starts within a second.
_IDLE_SECONDS: Final = 0.8
_MOST_ABANDONED: Final = 5
# Smaller claims follow each other while what they brought runs.
_MOST_AT_ONCE: Final = 100


async def work(ctx: dict[Any, Any], queue: str) -> None:
    """What a ring names. A stock arq worker on our queue would find nothing to do."""


class HeadraceWorker(Worker):
    """Claims jobs and runs an attempt of each, up to its concurrency."""

    def __init__(
        self,
        *,
        redis: ArqRedis | None,
        execution: JobQueue,
        tools: WorkerResources,
        leases: Leases,
        publisher: Publisher,
        grace_seconds: float,
        only_suspect: bool,
    ) -> None:
        """*only_suspect*: run one job that was lost twice, and end."""
        worker = execution.worker
        super().__init__(
            [func(work, name=doorbell.FUNCTION, keep_result=0)],
            queue_name=doorbell.arq_queue(worker.queues[0]),
            redis_pool=redis,
            max_jobs=worker.concurrency,
            handle_signals=False,
            job_serializer=doorbell.serialize,
            job_deserializer=doorbell.deserialize,
        )
        self._redis = redis
        self._execution = execution
        self._tools = tools
        self._leases = leases
        self._publisher = publisher
        self._grace_seconds = grace_seconds
        self._attempt_tasks: set[asyncio.Task[None]] = set()
        self._freed: asyncio.Future[None] | None = None
        self._clearing: asyncio.Task[None] | None = None
        self.stopping = StopSignal()
        self._redis_away_until = 0.0
        self._only_suspect = only_suspect

    def handle_sig(self, signum: Signals) -> None:
        """Stop claiming; what runs has the grace time to end, then it is handed back."""
        _log.info("worker_stopping", signal=signum.name, running=len(self._attempt_tasks))
        self.stopping.set()

    async def main(self) -> None:
        """Claim and run until told to stop; then wait for the running attempts."""
        if self._only_suspect:
            await self._run_suspect()
        else:
            await self._run_all()
        await self._drain()

    async def _run_suspect(self) -> None:
        for claim in await self._execution.claim(1, suspects=True):
            _log.warning("running_alone", job_id=str(claim.job_id), losses=claim.losses)
            self._start(Attempt(claim, self._tools))
            while self._attempt_tasks and not self.stopping.is_set:
                await self._wait_for_slot()

    async def _run_all(self) -> None:
        while not self.stopping.is_set:
            claimed_all = await self._claim()
            if self._tools.abandoned >= _MOST_ABANDONED:
                _log.error("too_many_abandoned_steps", count=self._tools.abandoned)
                self.stopping.set()
            elif self._free == 0:
                await self._wait_for_slot()
            elif not claimed_all:
                await self._wait_for_work()

    @property
    def _free(self) -> int:
        return self._execution.worker.concurrency - len(self._attempt_tasks)

    async def _claim(self) -> bool:
        """Claim what there are slots for; True when there may be more."""
        free = min(self._free, _MOST_AT_ONCE)
        if free <= 0:
            return False
        try:
            claims = await self._execution.claim(free)
        except TRANSIENT as error:
            _log.warning("claim_put_off", reason=error.reason)
            await first_of(stop=self.stopping, seconds=_IDLE_SECONDS)
            return False
        # One line for all that begin together, so that each can be found by the request that submitted it.
        if requests := {str(claim.job_id): claim.request_id for claim in claims if claim.request_id}:
            _log.info("jobs_claimed", requests=requests)
        for claim in claims:
            self._start(Attempt(claim, self._tools))
        return len(claims) == free

    def _start(self, attempt: Attempt) -> None:
        self._publisher.publish([attempt.claim.news])
        self._leases.add(attempt)
        task = asyncio.create_task(attempt.run())
        self._attempt_tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, attempt))

    def _ended(self, task: asyncio.Task[None], attempt: Attempt) -> None:
        self._attempt_tasks.discard(task)
        self._leases.remove(attempt)
        self.jobs_complete += 1
        if self._freed is not None and not self._freed.done():
            self._freed.set_result(None)
        if not task.cancelled() and (error := task.exception()) is not None:
            claim = attempt.claim
            _log.error("attempt_broke", job_id=str(claim.job_id), request_id=claim.request_id, exc_info=error)

    async def _wait_for_slot(self) -> None:
        """Until an attempt ends, or the second is over."""
        freed = self._freed = asyncio.get_running_loop().create_future()
        await first_of(freed, stop=self.stopping, seconds=_IDLE_SECONDS)

    async def _wait_for_work(self) -> None:
        """Until a ring comes, or the second is over."""
        seconds = _IDLE_SECONDS * random.uniform(0.7, 1.0)  # noqa: S311
        if self._redis is None or time.monotonic() < self._redis_away_until:
            await first_of(stop=self.stopping, seconds=seconds)
            return
        waiting = asyncio.create_task(self._wait_for_ring(self._redis, seconds))
        try:
            await first_of(waiting, stop=self.stopping, seconds=seconds + 1.0)
        finally:
            await cancel_and_wait([waiting])

    async def _wait_for_ring(self, redis: ArqRedis, seconds: float) -> None:
        try:
            ring = await doorbell.wait_for_ring(redis, self._execution.worker.queues, seconds=seconds)
            # Beside the claim, which does not wait for it. What is left behind expires by itself.
            if ring is not None and (self._clearing is None or self._clearing.done()):
                self._clearing = asyncio.create_task(self._clear(redis, ring))
        except REDIS_ERRORS as error:
            self._miss_redis(error)
            await first_of(stop=self.stopping, seconds=_IDLE_SECONDS)

    async def _clear(self, redis: ArqRedis, ring: doorbell.Ring) -> None:
        try:
            await doorbell.clear_rings(redis, ring, self._free - 1)
        except REDIS_ERRORS as error:
            self._miss_redis(error)

    def _miss_redis(self, error: Exception) -> None:
        _log.warning("doorbell_away", error=type(error).__name__)
        self._redis_away_until = time.monotonic() + _IDLE_SECONDS

    async def _drain(self) -> None:
        """Let what runs end within the grace time, then hand it back."""
        await cancel_and_wait([self._clearing] if self._clearing else [])
        if self._attempt_tasks:
            await asyncio.wait(self._attempt_tasks, timeout=self._grace_seconds)
        for attempt in list(self._leases.attempts.values()):
            attempt.stop(StopReason.HANDED_BACK)
        if self._attempt_tasks:
            await asyncio.wait(self._attempt_tasks, timeout=self._grace_seconds + 15)
