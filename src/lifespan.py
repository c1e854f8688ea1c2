"""Builds the services of an API process when it starts, runs their loops, and closes them when it stops."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from litestar import Litestar
from litestar.datastructures import State
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.cipher import Cipher
from headrace.adapters.connection_counts import (
    CREDENTIAL_CONNECTIONS,
    FACTS_CONNECTIONS,
    HEALTH_CONNECTIONS,
    SEARCH_CONNECTIONS,
    STREAM_CONNECTIONS,
    SUBMIT_CONNECTIONS,
)
from headrace.adapters.database import FairDatabase, StatementPool
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.engine import WAIT_SECONDS, build_engine, connections_in_use, expire_connections
from headrace.adapters.event_bus import EventBus
from headrace.adapters.fair_turns import FairTurns, share_of
from headrace.adapters.freed_memory import FreedMemory
from headrace.adapters.messages import MessageSigner
from headrace.adapters.metrics.api_measuring import measuring_loops
from headrace.adapters.metrics.api_metrics import ApiMetrics
from headrace.adapters.metrics.facts_exporter import FACTS_SECONDS
from headrace.adapters.outages import Outages
from headrace.adapters.periodic import run_every
from headrace.adapters.probes import build_outages
from headrace.adapters.providers import build_providers
from headrace.adapters.providers.tone3000 import Tone3000Provider
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.readiness import check_readiness, shared_check
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.submission_batcher import SubmissionBatcher
from headrace.adapters.tasks import cancel_and_wait
from headrace.adapters.tone3000 import Tone3000
from headrace.adapters.tracing.tracing import Tracing, closing_traces
from headrace.api.auth.authentication import Authenticator
from headrace.api.auth.origins import Origins
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.revocation_watch import RevocationWatch
from headrace.api.auth.sign_in import SignIn
from headrace.api.auth.tokens import Tokens
from headrace.api.dependencies import Services
from headrace.api.live.hub import Hub
from headrace.api.live.overviews import Overviews
from headrace.api.middleware.rate_limits import RateLimits
from headrace.api.streams.snapshots import SnapshotLoader
from headrace.domain.accounts.credential_repository import CredentialRepository
from headrace.domain.accounts.login_attempt_repository import LoginAttemptRepository
from headrace.domain.accounts.provider_account_repository import ProviderAccountRepository
from headrace.domain.accounts.session_repository import SessionRepository
from headrace.domain.events.log import PostgresEventLog
from headrace.domain.heavy_work import HeavyWork
from headrace.domain.jobs.overview.overview_repository import OverviewRepository
from headrace.domain.jobs.search import SEARCH_SECONDS, JobSearch
from headrace.domain.jobs.submission.submit_repository import SubmitRepository
from headrace.domain.jobs.submission.submitter import Submitter
from headrace.domain.jobs.submission.transactional_repository import TransactionalRepository
from headrace.domain.quotas.usage import OwnerUsage
from headrace.domain.retention.report import RetentionReport
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_READ_SECONDS: Final = 5.0
# Thousands of new watchers of one user wait for each other. A stream that has waited in vain tries again.
_STREAM_WAIT_SECONDS: Final = 30.0
# A submission that waits for a locked row delays those that share its statement.
_SUBMIT_LOCK_TIMEOUT: Final = timedelta(seconds=3)
_QUOTA_SECONDS: Final = 3600.0
_QUOTA_RETRY_SECONDS: Final = 5.0
# Their Python code runs in one thread.
_GRAPHQL_QUERIES: Final = 3


class _Connections(Struct):
    """The process's connections: a pool for each kind of work, so that none waits for another's statements.

    *pool* is for credentials, sign-in and the heads of watched jobs.
    """

    engine: AsyncEngine
    read_engine: AsyncEngine
    pool: StatementPool
    submit_pool: StatementPool
    stream_pool: StatementPool
    search_pool: StatementPool
    health_pool: StatementPool
    facts_pool: StatementPool
    redis: ArqRedis | None

    @property
    def statement_pools(self) -> tuple[StatementPool, ...]:
        return tuple(self.pools_by_name.values())

    @property
    def pools_by_name(self) -> dict[str, StatementPool]:
        """The pools of single statements, by the names that the metrics give them."""
        return {
            "credentials": self.pool,
            "submissions": self.submit_pool,
            "streams": self.stream_pool,
            "searches": self.search_pool,
            "health": self.health_pool,
            "facts": self.facts_pool,
        }

    def in_use(self) -> dict[str, Callable[[], int]]:
        """Return functions that count the connections in use, by the name of their pool."""
        pools: dict[str, Callable[[], int]] = {
            name: pool.count_in_use for name, pool in self.pools_by_name.items()
        }
        engines = {"changes": self.engine, "reads": self.read_engine}
        return pools | {name: partial(connections_in_use, engine) for name, engine in engines.items()}

    async def expire(self) -> None:
        """Replace the connections to PostgreSQL: those from before a fail-over may lead to the old server."""
        for pool in self.statement_pools:
            await pool.expire()
        expire_connections(self.engine)
        expire_connections(self.read_engine)

    async def close(self) -> None:
        if self.redis is not None:
            await close_redis(self.redis)
        for pool in self.statement_pools:
            await pool.close()
        await self.engine.dispose()
        await self.read_engine.dispose()


@asynccontextmanager
async def run_services(
    app: Litestar,
    settings: Settings,
    tokens: Tokens,
    metrics: ApiMetrics,
    tracing: Tracing | None,
    on_broken: Callable[[], None] | None,
) -> AsyncGenerator[None, None]:
    """Hold the services in `app.state.services` for the block, and run their loops.

    *on_broken* is called when a loop ends by an error.
    """
    outages = build_outages(settings.database, settings.redis, settings.blob_dir)
    connections = await _connect(settings, outages)
    submission_batcher = SubmissionBatcher(
        SubmitRepository(connections.submit_pool, settings.quotas, stores_traces=tracing is not None).store,
        metrics.on_batch,
    )
    services = _build_services(settings, tokens, connections, submission_batcher, outages, metrics)
    services.tracing = tracing
    app.state.update(State({"services": services}))
    await asyncio.to_thread(services.blobs.restrict)
    await outages.storage.check()
    loops: tuple[Coroutine[Any, Any, None], ...] = (
        outages.run(),
        services.hub.run(),
        services.revocation_watch.run(),
        services.doorbell.run(),
        services.publisher.run(),
        submission_batcher.run(),
        _keep_quotas(connections.pool, settings),
        *measuring_loops(
            metrics,
            connections.facts_pool,
            connections.in_use(),
            redis=None if connections.redis is None else outages.redis,
        ),
        FreedMemory().run(),
    )
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(partial(_report_end, on_broken))
    _log.info("api_ready")
    try:
        async with closing_traces(tracing):
            yield
    finally:
        await services.hub.say_goodbye()
        await cancel_and_wait(tasks)
        await services.publisher.drain()
        await services.sign_in.close()
        services.heavy_work.close()
        await connections.close()


async def _keep_quotas(database: StatementPool, settings: Settings) -> None:
    """Store the quotas of jobs for submissions that do not pass an API, until cancelled."""
    repository = TransactionalRepository(database)
    await run_every(
        _QUOTA_SECONDS,
        partial(repository.store_quotas, settings.quotas),
        waits_first=False,
        retry_seconds=_QUOTA_RETRY_SECONDS,
        put_off_event="quotas_not_stored",
    )


async def _connect(settings: Settings, outages: Outages) -> _Connections:
    database, redis, report = settings.database, settings.redis, outages.postgresql.report
    reads = settings.read_connections
    writes = settings.database_connections - reads
    engine = partial(build_engine, database, report, suspect=outages.postgresql.suspect)
    pool = partial(StatementPool.open, database, report=report)
    connections = _Connections(
        engine=engine(size=writes, share=share_of(writes)),
        read_engine=engine(size=reads, share=share_of(reads), statement_seconds=_READ_SECONDS),
        pool=await pool(size=CREDENTIAL_CONNECTIONS),
        submit_pool=await pool(size=SUBMIT_CONNECTIONS, lock_timeout=_SUBMIT_LOCK_TIMEOUT),
        stream_pool=await pool(size=STREAM_CONNECTIONS, statement_seconds=_READ_SECONDS),
        search_pool=await pool(size=SEARCH_CONNECTIONS, statement_seconds=SEARCH_SECONDS),
        health_pool=await pool(size=HEALTH_CONNECTIONS),
        facts_pool=await pool(size=FACTS_CONNECTIONS, statement_seconds=FACTS_SECONDS),
        redis=build_redis(redis, connections=32, report=outages.redis.report) if redis else None,
    )
    outages.postgresql.on_end.append(connections.expire)
    return connections


def _build_services(
    settings: Settings,
    tokens: Tokens,
    connections: _Connections,
    submission_batcher: SubmissionBatcher,
    outages: Outages,
    metrics: ApiMetrics,
) -> Services:
    pool, redis = connections.pool, connections.redis
    turns = partial(FairTurns, suspect=outages.postgresql.suspect)
    stream_turns = turns(STREAM_CONNECTIONS, share_of(STREAM_CONNECTIONS), _STREAM_WAIT_SECONDS)
    streams = FairDatabase(connections.stream_pool, stream_turns)
    searches = FairDatabase(connections.search_pool, turns(SEARCH_CONNECTIONS, 1, WAIT_SECONDS))
    # Statements with the submissions of all users take no turns, and find a connection beside these.
    look_up_places = SUBMIT_CONNECTIONS - 1
    look_ups = FairDatabase(
        connections.submit_pool, turns(look_up_places, share_of(look_up_places), WAIT_SECONDS)
    )
    usages = FairDatabase(connections.stream_pool, turns(2, 1, WAIT_SECONDS))
    numbers = FairDatabase(connections.stream_pool, turns(2, 1, WAIT_SECONDS))
    signer = MessageSigner(settings.secret_key)
    heavy_work = HeavyWork()
    bus = EventBus(redis, signer)
    sessions = async_sessionmaker(connections.engine, expire_on_commit=False)
    read_sessions = async_sessionmaker(connections.read_engine, expire_on_commit=False)
    providers = build_providers(settings.provider_settings) if settings.auth == "token" else None
    tone3000 = (providers or {}).get("tone3000")
    cipher = Cipher(settings.secret_key)
    return Services(
        settings=settings,
        engine=connections.engine,
        read_engine=connections.read_engine,
        sessions=sessions,
        read_sessions=read_sessions,
        search=JobSearch(searches),
        authenticator=Authenticator(settings, CredentialRepository(pool), tokens),
        tokens=tokens,
        limits=RateLimits(settings, redis, Proxies(settings)),
        origins=Origins(settings, tokens),
        sign_in=SignIn(
            providers,
            tokens=tokens,
            cipher=cipher,
            attempts=LoginAttemptRepository(pool),
            sessions=SessionRepository(pool),
            transactions=sessions,
        ),
        tone3000=Tone3000(tone3000, ProviderAccountRepository(pool), cipher)
        if isinstance(tone3000, Tone3000Provider)
        else None,
        revocation_watch=RevocationWatch(CredentialRepository(pool)),
        hub=Hub(bus, PostgresEventLog(streams), Overviews(bus, OverviewRepository(streams)), metrics),
        load_snapshot=SnapshotLoader(read_sessions).load,
        doorbell=Doorbell(redis, metrics.on_ring),
        publisher=RedisPublisher(redis, signer),
        submitter=Submitter(look_ups, submission_batcher.store, heavy_work),
        heavy_work=heavy_work,
        graphql_turns=FairTurns(_GRAPHQL_QUERIES, share_of(_GRAPHQL_QUERIES), WAIT_SECONDS),
        usage=OwnerUsage(usages, settings.quotas),
        retention=RetentionReport(usages, settings.kept),
        numbers=numbers,
        blobs=BlobStore(
            settings.blob_dir, max_bytes=settings.max_file_bytes, report=outages.storage.report_from_thread
        ),
        metrics=metrics,
        tracing=None,
        check_readiness=shared_check(
            partial(check_readiness, connections.health_pool, redis, bus.refused, outages)
        ),
    )


def _report_end(on_broken: Callable[[], None] | None, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("service_loop_ended", exc_info=error)
        if on_broken is not None:
            on_broken()
