"""Builds one worker process and runs it until it is stopped."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import structlog

from headrace.adapters.doorbell import Doorbell
from headrace.adapters.gc_tuning import freeze_present_objects
from headrace.adapters.group_commit import GroupCommit
from headrace.adapters.job_notices import JobNotices
from headrace.adapters.messages import MessageSigner
from headrace.adapters.outages import Outages
from headrace.adapters.process_watch import watched_process
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.tasks import cancel_and_wait
from headrace.adapters.tracing.tracing import closing_traces, load_tracing
from headrace.domain.jobs.attempts.claims import Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.domain.pipelines.registry import Registrar
from headrace.domain.pipelines.versions import version_key
from headrace.settings import Settings
from headrace.workers.arq_worker import HeadraceWorker
from headrace.workers.attempt.job_files import FileLimits
from headrace.workers.attribution import OwnedTask
from headrace.workers.crash_record import CrashRecord
from headrace.workers.forks import detach_forks
from headrace.workers.imported_files import ImportedFiles
from headrace.workers.job_log import JobLog
from headrace.workers.leases import Leases
from headrace.workers.maintenance.eta_refresh import EtaEstimators
from headrace.workers.maintenance.pruner import run_pruner
from headrace.workers.maintenance.quarantine import Quarantine
from headrace.workers.maintenance.schema_watch import SchemaWatch
from headrace.workers.maintenance.upkeep import upkeep_loops
from headrace.workers.maintenance.watchdog import Watchdog
from headrace.workers.monitoring.interface import NO_INSTRUMENTS, Instruments, Monitoring, observing, serving
from headrace.workers.outputs import OutputLimits
from headrace.workers.pools import open_pools
from headrace.workers.resources import WorkerResources
from headrace.workers.slots import Slots
from headrace.workers.startup import (
    Predecessor,
    followed_outages,
    load_pipelines,
    open_blobs,
    open_redis,
    register_pipelines,
    require_store,
    running_fork_server,
    scratch_folder,
    sign_off,
    warm_up,
)
from headrace.workers.step_output import captured_output
from headrace.workers.stop_requests import StopRequests
from headrace.workers.supervision import NO_SUPERVISION, Supervision

_log = structlog.get_logger(__name__)


async def run_worker(
    settings: Settings,
    queues: tuple[str, ...],
    concurrency: int,
    *,
    only_suspect: bool = False,
    supervision: Supervision = NO_SUPERVISION,
    monitoring: Monitoring | None = None,
) -> None:
    """Serve *queues* until SIGTERM or SIGINT; with *only_suspect*, run one suspect and exit.

    *monitoring* serves the metrics and the probes of this process; None: it has none.

    Raises:
        HeadraceError: see `open_worker`.
    """
    tracing = load_tracing(settings.traces, "headrace-worker")
    freeze_present_objects()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(closing_traces(tracing))
        stack.enter_context(captured_output(settings.step_log_level))
        running = await stack.enter_async_context(
            open_worker(
                settings,
                queues,
                concurrency,
                only_suspect=only_suspect,
                supervision=supervision,
                instruments=Instruments(monitoring, tracing),
            )
        )
        loop = asyncio.get_running_loop()
        stop_requests = StopRequests(supervision.crash_record, running.worker.handle_sig)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_requests.on_signal, number)
        detach_forks(running.crash_record)
        if isinstance(main := asyncio.current_task(), OwnedTask):
            main.crash_record = running.crash_record
        with watched_process(report=running.crash_record.path) as watch:
            watchers = [
                asyncio.create_task(coroutine)
                for coroutine in (Watchdog(running.crash_record).run(), watch.run())
            ]
            try:
                await running.run_until_stopped()
            finally:
                await cancel_and_wait(watchers)


@asynccontextmanager
async def open_worker(
    settings: Settings,
    queues: tuple[str, ...],
    concurrency: int,
    *,
    only_suspect: bool = False,
    supervision: Supervision = NO_SUPERVISION,
    instruments: Instruments = NO_INSTRUMENTS,
) -> AsyncIterator["RunningWorker"]:
    """Build a worker with its connections and background loops.

    It serves *queues* once `run_until_stopped` is called.

    Raises:
        HeadraceError: the start cannot succeed: HEADRACE_PIPELINES names nothing, or Redis, the store of
            files, the schema, the clock or the limits of PostgreSQL do not allow it.
    """
    async with AsyncExitStack() as stack:
        await require_store(settings, is_first=not (supervision.is_restart or only_suspect))
        monitor = instruments.monitor
        outages = await stack.enter_async_context(followed_outages(settings))
        pools = await open_pools(settings, outages.postgresql, stack)
        pool = pools.statements
        # Users' modules may take long to import, while the leases of the predecessor run out.
        predecessor = Predecessor(supervision.crash_record)
        await predecessor.rescue(pool)
        loaded = load_pipelines(settings)
        imported_files = ImportedFiles(supervision.imports, loaded.failures)
        fork_server = await stack.enter_async_context(running_fork_server(loaded, settings))
        # PostgreSQL is needed from here on, and may be away for long.
        monitoring = await stack.enter_async_context(serving(instruments.monitoring, pools, outages))
        redis = await open_redis(settings.redis, stack, outages.redis.report)
        registrar = Registrar(pool, loaded.pipelines.values(), may_replace=settings.env == "local")
        loaded = await register_pipelines(
            pool,
            registrar,
            loaded,
            only_suspect=only_suspect,
            is_restart=supervision.is_restart,
            faults=supervision.faults,
        )
        worker = Worker(
            id=f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid4().hex[:6]}",
            queues=queues,
            pipelines=tuple(version_key(name, version) for name, version in loaded.pipelines),
            concurrency=concurrency,
            lease=timedelta(seconds=settings.lease_seconds),
        )
        scratch, job_log = stack.enter_context(scratch_folder()), JobLog(settings.log_level)
        await predecessor.rescue(pool)
        record = CrashRecord(supervision.crash_record, worker.id)
        bell = Doorbell(redis, None if monitor is None else monitor.on_ring)
        publisher, write_queue = (
            RedisPublisher(redis, MessageSigner(settings.secret_key)),
            JobQueue(pools.writes, worker),
        )
        await warm_up(write_queue)
        commit = GroupCommit(write_queue.write, publisher, None if monitor is None else monitor.on_batch)
        estimators = EtaEstimators(loaded.pipelines.values(), StepTimesRepository(pool))
        job_queue = JobQueue(
            pool, worker, estimators.by_version, None if monitor is None else monitor.on_losses
        )
        leases = Leases(
            JobQueue(pools.heartbeat, worker), heartbeat_seconds=settings.heartbeat_seconds, monitor=monitor
        )
        blobs = await open_blobs(settings, outages.storage)
        arq_worker = HeadraceWorker(
            redis=redis,
            job_queue=job_queue,
            resources=WorkerResources(
                pipelines=loaded.pipelines,
                sources=loaded.sources,
                commit=commit,
                publisher=publisher,
                database=pool,
                blobs=blobs,
                scratch=scratch,
                process_slots=Slots(1 if only_suspect else settings.process_slots),
                thread_slots=Slots(concurrency),
                max_output_bytes=settings.max_output_bytes,
                max_items_bytes=settings.max_items_bytes,
                output_limits=OutputLimits(settings.max_job_output_bytes, settings.max_result_bytes),
                file_limits=FileLimits(settings.max_job_file_bytes, settings.quota_stored_bytes),
                crash_record=record,
                fork_server=fork_server,
                job_log=job_log,
                log_level=settings.log_level,
                step_log_level=settings.step_log_level,
                logs_json=settings.env == "production",
                secrets=settings.secrets,
                monitor=monitor,
                tracing=instruments.tracing,
            ),
            leases=leases,
            publisher=publisher,
            grace_seconds=settings.grace_seconds,
            stop_seconds=settings.stop_seconds,
            only_suspect=only_suspect,
        )
        fork_server.call_on_end(arq_worker.stopping.set)
        predecessor.announce(publisher, bell, queues, monitor)
        quarantine = _build_quarantine(settings, job_queue, arq_worker, publisher, scratch)
        notices = _build_notices(settings, queues, arq_worker, outages)
        background_tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (
                publisher.run(),
                bell.run(),
                leases.run_heartbeat(),
                leases.run_cancel_watch(),
                estimators.run(),
                SchemaWatch(pool, arq_worker.stopping.set).run(),
                *(() if only_suspect else (quarantine.run(), notices.run())),
                *(
                    ()
                    if only_suspect
                    else (run_pruner(pools.writes, settings, worker.id, arq_worker.claim_times),)
                ),
                *(() if supervision.imports is None else (imported_files.run(),)),
                *upkeep_loops(
                    pool,
                    job_queue,
                    publisher,
                    bell,
                    registrar,
                    blobs,
                    outages.storage,
                    only_suspect=only_suspect,
                ),
            )
        ]
        await stack.enter_async_context(observing(monitoring, arq_worker, leases))
        commit_task = asyncio.create_task(commit.run())
        _log.info("worker_ready", worker=worker.id, queues=queues, concurrency=concurrency)
        try:
            yield RunningWorker(arq_worker, job_queue, record, [*background_tasks, commit_task])
        finally:
            quarantine.stop()
            await quarantine.wait_stopped(arq_worker.seconds_to_stop)
            commit.close()
            await asyncio.wait({commit_task}, timeout=arq_worker.seconds_to_stop)
            await cancel_and_wait([*background_tasks, commit_task])
            await publisher.drain()
            await sign_off(job_queue)
            job_log.flush()
        _log_end(arq_worker)


def _build_quarantine(
    settings: Settings,
    job_queue: JobQueue,
    worker: HeadraceWorker,
    publisher: RedisPublisher,
    scratch: Path,
) -> Quarantine:
    """Build the quarantine of *worker*, which stops with it."""
    quarantine = Quarantine(
        job_queue, settings, folder=scratch, slots=settings.process_slots, publish=publisher.publish
    )
    worker.stopping.add_callback(quarantine.stop)
    return quarantine


def _build_notices(
    settings: Settings, queues: tuple[str, ...], worker: HeadraceWorker, outages: Outages
) -> JobNotices:
    """Build the listener that wakes *worker*. It connects again after an outage."""
    notices = JobNotices(settings.database, queues, worker.signals.on_notice, outages.postgresql.report)
    outages.postgresql.on_end.append(notices.expire)
    return notices


def _log_end(worker: HeadraceWorker) -> None:
    ended = worker.ended_in_drain
    _log.info(
        "worker_stopped",
        worker=worker.id,
        handed_back=ended["queued"],
        finished=ended.total() - ended["queued"],
    )


class RunningWorker:
    """A worker with its background loops."""

    def __init__(
        self,
        worker: HeadraceWorker,
        job_queue: JobQueue,
        crash_record: CrashRecord,
        background_tasks: list["asyncio.Task[None]"],
    ) -> None:
        self.worker = worker
        self.job_queue = job_queue
        self.crash_record = crash_record
        self._background_tasks = background_tasks

    async def run_until_stopped(self) -> None:
        """Run until the worker is stopped. If a background loop ends, stop the worker and raise its error."""
        main = asyncio.create_task(self.worker.main())
        try:
            done, _ = await asyncio.wait({main, *self._background_tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait([main])
        failure = next((error for task in done if (error := task.exception()) is not None), None)
        if main in done and failure is None:
            self.crash_record.clear()
            return
        self.crash_record.absolve()
        raise failure or RuntimeError("a loop of the worker ended by itself")
