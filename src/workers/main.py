"""Wires one worker process and runs it until it is told to stop."""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import structlog

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.gc_tuning import tune_gc
from headrace.adapters.group_commit import GroupCommit
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.redis_client import build_redis, close_redis, require_noeviction
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import TRANSIENT, Database
from headrace.domain.files.removals import BlobRemovals
from headrace.domain.jobs.attempts.claims import Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.domain.pipelines.loading import Loaded, load_all
from headrace.domain.pipelines.registry import register
from headrace.domain.pipelines.versions import version_key
from headrace.settings import Settings
from headrace.workers.arq_worker import HeadraceWorker
from headrace.workers.leases import Leases
from headrace.workers.maintenance import sweeper
from headrace.workers.maintenance.blob_remover import BlobRemover
from headrace.workers.maintenance.eta_refresh import EtaEstimators
from headrace.workers.maintenance.quarantine import Quarantine
from headrace.workers.maintenance.watchdog import Watchdog
from headrace.workers.resources import WorkerResources

_log = structlog.get_logger(__name__)

_LOCK_TIMEOUT: Final = timedelta(milliseconds=100)
# What was sent is written once however often it is sent again, so there is no need to wait for long.
_ANSWER_SECONDS: Final = 8.0
_LAST_WRITES_SECONDS: Final = 10
_START_PAUSE_SECONDS: Final = 0.5
_START_TRIES: Final = 120


async def run_worker(
    settings: Settings, queues: tuple[str, ...], concurrency: int, *, only_suspect: bool = False
) -> None:
    """Serve *queues* until SIGTERM or SIGINT; with *only_suspect* run one job that was lost twice.

    Raises:
        HeadraceError: see `open_worker`.
    """
    tune_gc()
    async with open_worker(settings, queues, concurrency, only_suspect=only_suspect) as running:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.worker.handle_sig, number)
        watchdog = asyncio.create_task(Watchdog().run())
        try:
            await running.until_stopped()
        finally:
            watchdog.cancel()


@asynccontextmanager
async def open_worker(
    settings: Settings, queues: tuple[str, ...], concurrency: int, *, only_suspect: bool = False
) -> AsyncIterator["RunningWorker"]:
    """A worker with everything that it needs; it serves *queues* from `until_stopped` on.

    Raises:
        HeadraceError: a start that cannot succeed: names that clash, a Redis that evicts, a pipeline that was
            changed without a new version.
    """
    settings.needs("database_url")
    url = str(settings.database_url)
    loaded = load_all(settings.pipelines)
    for failure in loaded.failures:
        _log.error("pipeline_failed_to_load", source=failure.source, traceback=failure.traceback)
    async with AsyncExitStack() as stack:
        redis = build_redis(settings.redis_url) if settings.redis_url else None
        if redis is not None:
            stack.push_async_callback(close_redis, redis)
            await require_noeviction(redis)
        worker = Worker(
            id=f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid4().hex[:6]}",
            queues=queues,
            pipelines=tuple(version_key(name, version) for name, version in loaded.pipelines),
            concurrency=concurrency,
            lease=timedelta(seconds=settings.lease_seconds),
        )
        # Neither a batch nor the heartbeat waits long for a row that somebody holds: others ride along.
        batches = await StatementPool.open(
            url, size=4, lock_timeout=_LOCK_TIMEOUT, answer_seconds=_ANSWER_SECONDS
        )
        stack.push_async_callback(batches.close)
        # A connection that has gone silent must not hold the heartbeat until the leases are lost.
        beats = await StatementPool.open(
            url, size=2, lock_timeout=_LOCK_TIMEOUT, answer_seconds=max(1.0, settings.lease_seconds / 5)
        )
        stack.push_async_callback(beats.close)
        singles = await StatementPool.open(url, size=6, answer_seconds=_ANSWER_SECONDS)
        stack.push_async_callback(singles.close)
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="headrace-", ignore_cleanup_errors=True)
        )
        await _register(singles, loaded, may_replace=settings.env == "local")
        publisher, bell = RedisPublisher(redis), Doorbell(redis)
        changes = JobQueue(batches, worker)
        await _warm_up(changes)
        commit = GroupCommit(changes.write, publisher)
        estimators = EtaEstimators(loaded.pipelines.values(), StepTimesRepository(singles))
        execution = JobQueue(singles, worker, estimators.by_version)
        leases = Leases(JobQueue(beats, worker), every_seconds=settings.heartbeat_seconds)
        blobs = BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes)
        arq_worker = HeadraceWorker(
            redis=redis,
            execution=execution,
            tools=WorkerResources(
                pipelines=loaded.pipelines,
                sources=loaded.sources,
                commit=commit,
                publisher=publisher,
                database=singles,
                blobs=blobs,
                scratch=Path(scratch),
                process_slots=asyncio.Semaphore(settings.process_slots),
                thread_slots=asyncio.Semaphore(concurrency),
                max_output_bytes=settings.max_output_bytes,
            ),
            leases=leases,
            publisher=publisher,
            grace_seconds=settings.grace_seconds,
            only_suspect=only_suspect,
        )
        isolation = Quarantine(execution, settings)
        remover = BlobRemover(BlobRemovals(singles), blobs)
        arq_worker.stopping.listen(isolation.stop)
        beside = [
            asyncio.create_task(coroutine)
            for coroutine in (
                publisher.run(),
                bell.run(),
                leases.heartbeat(),
                leases.watch_cancels(),
                sweeper.sweep(execution, publisher, bell, queues),
                sweeper.keep_house(singles),
                estimators.run(),
                *(() if only_suspect else (isolation.run(), remover.run())),
            )
        ]
        committing = asyncio.create_task(commit.run())
        _log.info("worker_ready", worker=worker.id, queues=queues, concurrency=concurrency)
        try:
            yield RunningWorker(arq_worker, execution, [*beside, committing])
        finally:
            isolation.stop()
            await isolation.ended()
            commit.close()
            await asyncio.wait({committing}, timeout=_LAST_WRITES_SECONDS)
            await cancel_and_wait([*beside, committing])
            await publisher.drain()
            await _leave(execution)
        _log.info("worker_stopped", worker=worker.id)


async def _warm_up(changes: JobQueue) -> None:
    """Connect both lanes and have their statement prepared: the first event of a job need not wait for it."""
    with contextlib.suppress(*TRANSIENT):
        await asyncio.gather(changes.write([]), changes.write([]))


class RunningWorker:
    """A worker and the loops beside it."""

    def __init__(
        self, worker: HeadraceWorker, execution: JobQueue, beside: list["asyncio.Task[None]"]
    ) -> None:
        self.worker = worker
        self.execution = execution
        self._beside = beside

    async def until_stopped(self) -> None:
        """Run until the worker is told to stop. A loop beside it that ends takes the worker down with it."""
        main = asyncio.create_task(self.worker.main())
        try:
            done, _ = await asyncio.wait({main, *self._beside}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait([main])
        for task in done:
            task.result()
        if main not in done:
            raise RuntimeError("a loop of the worker ended by itself")


async def _register(database: Database, loaded: Loaded, *, may_replace: bool) -> None:
    """Make the pipelines known; waits for PostgreSQL and for its schema for a minute."""
    for turn in range(_START_TRIES):
        try:
            for pipeline in loaded.pipelines.values():
                await register(database, pipeline, may_replace=may_replace)
        except (*TRANSIENT, asyncpg.UndefinedTableError) as error:
            if turn == _START_TRIES - 1:
                raise
            _log.warning("waiting_for_postgresql", error=str(error))
            await asyncio.sleep(_START_PAUSE_SECONDS)
        else:
            return


async def _leave(execution: JobQueue) -> None:
    try:
        async with asyncio.timeout(3):
            await execution.deregister()
    except (TimeoutError, OSError, *TRANSIENT) as error:
        _log.warning("left_without_a_word", error=type(error).__name__)
