"""The arq worker of Headrace. It has arq's life cycle and signals, but claims its jobs from PostgreSQL.

It does not use arq's own job claim. A ring from Redis or a notice from PostgreSQL wakes the worker. After
either, and at least once a second, it claims due jobs in one statement. Without Redis it goes on claiming.
"""

import asyncio
import time
from collections import Counter
from signal import Signals
from typing import Any, Final

import asyncpg
import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func

from headrace.adapters import doorbell
from headrace.domain.database import TRANSIENT, is_outage
from headrace.domain.events.news import Publisher
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.attempt.outcome import StopReason
from headrace.workers.attempt.runner import Attempt
from headrace.workers.attempt.waiting import StopSignal, wait_first
from headrace.workers.attribution import create_unmarked_task
from headrace.workers.leases import Leases
from headrace.workers.resources import WorkerResources
from headrace.workers.work_signals import POLL_SECONDS, WorkSignals

_log = structlog.get_logger(__name__)

_MAX_ABANDONED_STEPS: Final = 5
_MAX_PAUSE_SECONDS: Final = 600.0
# Several small claims overlap with the start of the attempts; one large claim would delay them.
_MAX_CLAIM_SIZE: Final = 100
# The time to stop is divided: running attempts may end, then their steps are stopped, then this is left.
_EXIT_SECONDS: Final = 2.0
_MAX_HAND_BACK_SECONDS: Final = 8.0
_HAND_BACK_SHARE: Final = 0.4
_LAST_WRITES_SECONDS: Final = 2.0


async def work(ctx: dict[Any, Any], queue: str) -> None:
    """The arq function that a ring names. It does nothing, in case a stock arq worker reads our queue."""


class HeadraceWorker(Worker):
    """Claims due jobs and runs an attempt of each, at most `concurrency` at a time."""

    def __init__(
        self,
        *,
        redis: ArqRedis | None,
        job_queue: JobQueue,
        resources: WorkerResources,
        leases: Leases,
        publisher: Publisher,
        grace_seconds: float,
        stop_seconds: float,
        only_suspect: bool,
    ) -> None:
        """*only_suspect*: run one suspect, then exit (arq's burst mode with one job)."""
        worker = job_queue.worker
        super().__init__(
            [func(work, name=doorbell.FUNCTION, keep_result=0)],
            queue_name=doorbell.arq_queue(worker.queues[0]),
            redis_pool=redis,
            max_jobs=worker.concurrency,
            handle_signals=False,
            job_serializer=doorbell.serialize,
            job_deserializer=doorbell.deserialize,
        )
        self._job_queue = job_queue
        self._resources = resources
        self._leases = leases
        self._publisher = publisher
        self._grace_seconds = grace_seconds
        self._stop_seconds = stop_seconds - min(_EXIT_SECONDS, stop_seconds * _HAND_BACK_SHARE)
        self._stop_at: float | None = None
        self._only_suspect = only_suspect
        self._attempt_tasks: set[asyncio.Task[None]] = set()
        self._slot_freed: asyncio.Future[None] | None = None
        self._is_claiming = False
        self._paused_at: float | None = None
        self.ended_in_drain: Counter[str] = Counter()
        """The attempts that ended after the worker was to stop, by the state of their job."""
        self.stopping = StopSignal()
        self.signals = WorkSignals(
            redis, worker.queues, self.stopping, lambda: self._free_slots, monitor=resources.monitor
        )
        resources.process_slots.offer = self._offer_process_slot
        self.stopping.add_callback(resources.process_slots.serve_more)

    def handle_sig(self, signum: Signals) -> None:
        """Stop claiming. Running attempts may end within the grace time; then they are handed back."""
        # From here on the process may be killed without any job being to blame.
        self._resources.crash_record.clear()
        self._start_to_stop()
        _log.info("worker_stopping", signal=signum.name, running=len(self._attempt_tasks))
        self.stopping.set()

    @property
    def seconds_to_stop(self) -> float:
        """The time that is left until this process should have stopped."""
        return max(self._start_to_stop() - time.monotonic(), 0.0)

    def _start_to_stop(self) -> float:
        """Return the monotonic time by which everything must be handed back, fixed at the first call."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._stop_seconds
        return self._stop_at

    async def main(self) -> None:
        """Claim and run jobs until the worker is stopped, then drain."""
        if self._only_suspect:
            await self._run_suspect()
        else:
            await self._poll()
        await self._drain()

    async def _run_suspect(self) -> None:
        if self._resources.fork_server.is_loading:
            await self._resources.fork_server.load()
        for claim in await self._claim_with_slots(1, suspects=True):
            _log.warning("running_alone", job_id=str(claim.job_id), losses=claim.losses)
            # It is the only job of this process, so it is to blame if the process dies.
            self._resources.crash_record.blame(claim.lease)
            self._start(claim)
            while self._attempt_tasks and not self.stopping.is_set:
                await self._wait_for_slot()

    async def _poll(self) -> None:
        while not self.stopping.is_set:
            if self._is_paused():
                await self._wait_for_slot()
                continue
            may_have_more = await self._claim()
            if self._free_slots == 0:
                await self._wait_for_slot()
            elif not may_have_more:
                await self._wait_for_work()

    def _is_paused(self) -> bool:
        """Return whether too many abandoned steps still run.

        The worker then claims nothing until some of them end. It stops, to be started again, once no other
        job runs, at the latest after ten minutes.
        """
        if not self.has_too_many_abandoned:
            self._paused_at = None
            return False
        if self._paused_at is None:
            self._paused_at = time.monotonic()
            abandoned, running = self._resources.abandoned, len(self._attempt_tasks)
            _log.error("too_many_abandoned_steps", count=abandoned, running=running)
        if not self._attempt_tasks or time.monotonic() - self._paused_at > _MAX_PAUSE_SECONDS:
            self.stopping.set()
        return True

    @property
    def has_too_many_abandoned(self) -> bool:
        """Whether so many abandoned steps still run that nothing is claimed."""
        limit = min(_MAX_ABANDONED_STEPS, self._job_queue.worker.concurrency)
        return self._resources.abandoned >= limit

    @property
    def id(self) -> str:
        """The id of this worker in PostgreSQL."""
        return self._job_queue.worker.id

    @property
    def _free_slots(self) -> int:
        return self._job_queue.worker.concurrency - len(self._attempt_tasks)

    async def _claim(self) -> bool:
        """Claim jobs for the free slots and start them; return whether more may be due."""
        limit = min(self._free_slots, _MAX_CLAIM_SIZE)
        if limit <= 0:
            return False
        try:
            claims = await self._claim_with_slots(limit)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            if isinstance(error, asyncpg.PostgresError):
                _log.exception("claim_refused")
            elif not is_outage(error):
                _log.warning("claim_put_off", reason=error.reason)
            await wait_first(stop=self.stopping, seconds=POLL_SECONDS)
            return False
        self.signals.on_claim(len(claims))
        if claims:
            _log.debug("jobs_claimed", count=len(claims))
        for claim in claims:
            self._start(claim)
        return len(claims) == limit

    async def _claim_with_slots(self, limit: int, *, suspects: bool = False) -> list[Claim]:
        """Claim jobs; those that begin in a process take a free process slot each."""
        slots = self._resources.process_slots
        # Until the modules of the steps are loaded, no step could begin.
        taken = 0 if self._resources.fork_server.is_loading else slots.take(limit)
        self._is_claiming = True
        try:
            claims = await self._job_queue.claim(limit, suspects=suspects, process_limit=taken)
            taken -= sum(claim.needs_process for claim in claims)
        finally:
            self._is_claiming = False
            slots.give_back(taken)
            slots.serve_more()
        return claims

    def _start(self, claim: Claim) -> None:
        attempt = Attempt(claim, self._resources)
        if self._resources.monitor is not None:
            self._resources.monitor.on_start(claim.late_seconds)
        self._publisher.publish([claim.news])
        self._leases.add(attempt)
        task = create_unmarked_task(attempt.run(), claim.lease)
        self._attempt_tasks.add(task)
        task.add_done_callback(lambda done: self._on_attempt_done(done, attempt))

    def _on_attempt_done(self, task: asyncio.Task[None], attempt: Attempt) -> None:
        self._attempt_tasks.discard(task)
        self._leases.remove(attempt)
        self.jobs_complete += 1
        self._wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            claim = attempt.claim
            _log.error("attempt_broke", job_id=str(claim.job_id), request_id=claim.request_id, exc_info=error)

    def _new_slot_freed(self) -> "asyncio.Future[None]":
        self._slot_freed = asyncio.get_running_loop().create_future()
        return self._slot_freed

    def _wake(self) -> None:
        if self._slot_freed is not None and not self._slot_freed.done():
            self._slot_freed.set_result(None)

    def _offer_process_slot(self) -> bool:
        """Let the next claim take a free process slot; return whether there will be one at once."""
        if self.stopping.is_set or self._free_slots <= 0 or self._only_suspect:
            return False
        is_waiting = self._slot_freed is not None and not self._slot_freed.done()
        self._wake()
        return is_waiting or self._is_claiming

    async def _wait_for_slot(self) -> None:
        """Wait until an attempt ends, at most for a second."""
        await wait_first(self._new_slot_freed(), stop=self.stopping, seconds=POLL_SECONDS)

    async def _wait_for_work(self) -> None:
        """Wait until there may be a job, or a process slot may be free again, at most for a second."""
        # Jobs that wait for a process slot were rung for when they were submitted.
        slot_freed = [] if self._resources.process_slots.free > 0 else [self._new_slot_freed()]
        await self.signals.wait(slot_freed)

    async def _drain(self) -> None:
        """Wait for the running attempts, at most for the grace time; then hand the others back.

        The grace time and that of the steps are shortened to what the time to stop allows.
        """
        before = self._resources.job_log.totals.copy()
        await self.signals.close()
        stop_at = self._start_to_stop()
        hand_back_seconds = min(_MAX_HAND_BACK_SECONDS, self._stop_seconds * _HAND_BACK_SHARE)
        if self._attempt_tasks:
            grace_seconds = min(self._grace_seconds, self.seconds_to_stop - hand_back_seconds)
            await asyncio.wait(self._attempt_tasks, timeout=max(grace_seconds, 0.0))
        for attempt in list(self._leases.attempts.values()):
            last_writes = min(_LAST_WRITES_SECONDS, hand_back_seconds / 2)
            attempt.stop(StopReason.HANDED_BACK, deadline=stop_at - last_writes)
        if self._attempt_tasks:
            await asyncio.wait(self._attempt_tasks, timeout=self.seconds_to_stop)
        self.ended_in_drain = self._resources.job_log.totals - before
