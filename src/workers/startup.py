"""The single steps of a worker's start and end, which `main.open_worker` takes in order."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import structlog
from arq.connections import ArqRedis

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.connection_counts import OF_A_WORKER
from headrace.adapters.data_folder import require_usable_folder
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.outages import Outage, Outages
from headrace.adapters.private_files import replace_private
from headrace.adapters.probes import build_outages
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.redis_checks import require_usable
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.redis_url import RedisAddress
from headrace.adapters.schema import SchemaBehindError, UnfinishedRestoreError, require_schema
from headrace.adapters.server_conditions import require_conditions
from headrace.adapters.tasks import cancel_and_wait
from headrace.adapters.temporary_folders import remove_abandoned_folders, temporary_folder
from headrace.domain.conditions import Report
from headrace.domain.database import TRANSIENT, Database, DatabaseMisconfiguredError, is_outage
from headrace.domain.events.news import JobNews
from headrace.domain.jobs.attempts.queue import JobQueue, rescue_from
from headrace.domain.jobs.attempts.rescue_repository import RescueRepository
from headrace.domain.pipelines.bundled import BUNDLED_MODULES, explain_missing, require_extras
from headrace.domain.pipelines.loading import RENAME_ADVICE, Loaded, import_path, load_all
from headrace.domain.pipelines.registration import PipelineRefusedError
from headrace.domain.pipelines.registry import Registrar
from headrace.settings import Settings
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.child.server import Load
from headrace.workers.containment import call_in_thread
from headrace.workers.crash_record import read_death
from headrace.workers.monitor import Monitor

_log = structlog.get_logger(__name__)

_SIGN_OFF_SECONDS: Final = 1.5
_REGISTER_PAUSE_SECONDS: Final = 0.5
# A minute.
_MAX_BOUNDED_TRIES: Final = 120
_UNREADY: Final = (SchemaBehindError, UnfinishedRestoreError)


def load_pipelines(settings: Settings) -> Loaded:
    """Load the pipelines of the settings. What is wrong with their sources is logged, one line each.

    Raises:
        MissingExtraError: HEADRACE_BUNDLED names a pipeline whose libraries are missing.
    """
    require_extras(settings.bundled or ())
    loaded = load_all(settings.pipelines, settings.bundled_pipelines)
    for failure in loaded.failures:
        trace = {"exception": failure.traceback} if failure.traceback else {}
        _log.error("pipeline_failed_to_load", error=failure.summary, source=failure.source, **trace)
    for name in settings.bundled_pipelines:
        if (sentence := explain_missing(name)) is not None:
            (_log.warning if settings.bundled else _log.info)("bundled_pipeline_off", reason=sentence)
    for sentence in loaded.empty:
        _log.warning("no_pipeline", reason=sentence)
    for source in loaded.unnamed:
        _log.warning("module_name_taken", source=source, advice=RENAME_ADVICE)
    return loaded


@asynccontextmanager
async def running_fork_server(loaded: Loaded, settings: Settings) -> AsyncIterator[ForkServer]:
    """Run the server for steps in processes. If a user's module has such steps, it is started now.

    Files of users may change while the worker runs, but its steps keep the code that it has loaded.
    """
    sources = loaded.process_sources()
    fork_server = ForkServer(
        Load(
            sources=sources,
            import_path=list(import_path()),
            log_level=settings.log_level,
            logs_json=settings.env == "production",
            secrets=list(settings.secrets),
            traces=settings.traces != "off",
        ),
        settings.step_environment(),
    )
    try:
        if not set(sources) <= BUNDLED_MODULES:
            fork_server.start()
        yield fork_server
    finally:
        await fork_server.stop()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make the folder for the scratch folders of steps; remove those that killed workers have left.

    The removal may take long, so it runs in a thread, beside the worker.
    """
    with temporary_folder() as folder:
        call_in_thread("headrace-cleanup", remove_abandoned_folders).add_done_callback(_log_removal)
        yield folder


def _log_removal(removal: "asyncio.Future[int]") -> None:
    if (error := removal.exception()) is not None:
        _log.warning("abandoned_folders_not_removed", error=repr(error))
    elif count := removal.result():
        _log.info("abandoned_folders_removed", count=count)


async def register_pipelines(
    database: Database,
    registrar: Registrar,
    loaded: Loaded,
    *,
    only_suspect: bool,
    is_restart: bool,
    faults: Path | None = None,
) -> Loaded:
    """Store the pipelines in the database; return those that this worker may serve.

    A pipeline that is refused is logged and left out. While PostgreSQL is away, wait for it, as an API does.
    *only_suspect*: write nothing, and wait a minute at most. *is_restart*: a predecessor has worked, so wait
    as well while PostgreSQL refuses the login, or the schema is too old, as during a restore. *faults*: the
    file to which goes what is wrong with the sources and the pipelines, for `headrace up`.

    Raises:
        SchemaAheadError: this release is too old for the schema.
        SchemaBehindError: the schema is older than this release needs.
        UnfinishedRestoreError: a restore into the schema has not finished.
        ClockOffError: the clock of this machine is wrong.
        TooFewConnectionsError: PostgreSQL has too few connections for a worker.
        DatabaseAwayError, DatabaseBusyError: PostgreSQL does not answer, or refuses.
    """
    is_first = not (is_restart or only_suspect)
    logged = ""
    for number in itertools.count(1):
        try:
            await require_schema(database)
            if is_first:
                await require_conditions(database, OF_A_WORKER, "a worker")
            refusals = await (registrar.find_refusals() if only_suspect else registrar.register())
        except (*TRANSIENT, *_UNREADY, asyncpg.PostgresError) as error:
            if is_first and isinstance(error, (DatabaseMisconfiguredError, *_UNREADY)):
                raise
            # What PostgreSQL answers to a statement, if it is well, does not pass by itself.
            is_bounded = only_suspect or isinstance(error, asyncpg.PostgresError)
            if is_bounded and number >= _MAX_BOUNDED_TRIES:
                raise
            if str(error) != logged:
                logged = str(error)
                _log.warning("waiting_for_postgresql", error=logged)
            await asyncio.sleep(_REGISTER_PAUSE_SECONDS)
        else:
            break
    served = _without_refused(loaded, refusals)
    if faults is not None:
        replace_private(faults, msgspec.json.encode(served.faults()))
    return served


def _without_refused(loaded: Loaded, refusals: Sequence[PipelineRefusedError]) -> Loaded:
    for refusal in refusals:
        _log.error("pipeline_refused", reason=str(refusal))
    served = loaded.without({(refusal.name, refusal.version) for refusal in refusals})
    return msgspec.structs.replace(served, refusals=[str(refusal) for refusal in refusals])


async def warm_up(write_queue: JobQueue) -> None:
    """Open both connections of the group commit and prepare its statement before the first job."""
    with contextlib.suppress(*TRANSIENT, asyncpg.PostgresError):
        await asyncio.gather(write_queue.write([]), write_queue.write([]))


@asynccontextmanager
async def followed_outages(settings: Settings) -> AsyncIterator[Outages]:
    """Follow the outages of the services that the worker needs, for the block."""
    outages = build_outages(settings.database, settings.redis, settings.blob_dir)
    following = asyncio.create_task(outages.run())
    try:
        yield outages
    finally:
        await cancel_and_wait([following])


async def open_redis(address: RedisAddress | None, stack: AsyncExitStack, report: Report) -> ArqRedis | None:
    """Connect to Redis, if there is one, until *stack* is closed. *report* receives its failures.

    Raises:
        RedisRefusedError: Redis cannot be used.
    """
    if address is None:
        return None
    redis = build_redis(address, report=report)
    stack.push_async_callback(close_redis, redis)
    await require_usable(redis)
    return redis


async def require_store(settings: Settings, *, is_first: bool) -> None:
    """Check at a first start that files can be stored. Later failures are outages: see `open_blobs`.

    Raises:
        FolderUnusableError, NoRoomError: the store cannot be written, or has no room.
    """
    if is_first:
        await asyncio.to_thread(require_usable_folder, settings.blob_dir)


async def open_blobs(settings: Settings, outage: Outage) -> BlobStore:
    """Open the store of files. One that cannot be written any more is an outage: most jobs need no file."""
    blobs = BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes, report=outage.report_from_thread)
    await asyncio.to_thread(blobs.restrict)
    await outage.check()
    return blobs


class Predecessor:
    """The worker process that ran before this one, if it died."""

    def __init__(self, crash_record: Path | None) -> None:
        self._death = None if crash_record is None else read_death(crash_record)
        self._news: list[JobNews] = []

    async def rescue(self, database: Database) -> None:
        """Requeue its jobs, unless that is done; the loss counts for the one that is to blame.

        Without PostgreSQL or its schema nothing is done, nor if it refuses the statement: if no later call
        succeeds before the leases have run out, nobody is blamed.
        """
        death = self._death
        if death is None:
            return
        try:
            news = await rescue_from(RescueRepository(database), death.worker, death.blamed)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            if not is_outage(error):
                _log.warning("predecessor_not_rescued", worker=death.worker, reason=str(error))
            return
        blamed = None if death.blamed is None else str(death.blamed[0])
        _log.error("worker_died", worker=death.worker, blamed=blamed, rescued=len(news))
        self._death = None
        self._news = news

    def announce(
        self, publisher: RedisPublisher, bell: Doorbell, queues: tuple[str, ...], monitor: Monitor | None
    ) -> None:
        """Publish what `rescue` has changed."""
        if self._news:
            publisher.publish(self._news)
            bell.ring(queues)
            if monitor is not None:
                monitor.on_losses(len(self._news))


async def sign_off(job_queue: JobQueue) -> None:
    """Delete the worker's row, so that it no longer counts as live."""
    try:
        async with asyncio.timeout(_SIGN_OFF_SECONDS):
            await job_queue.deregister()
    except (TimeoutError, OSError, *TRANSIENT, asyncpg.PostgresError) as error:
        _log.warning("left_without_a_word", error=type(error).__name__)
