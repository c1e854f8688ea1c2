"""The composition root of the HTTP side."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.cipher import Cipher
from headrace.adapters.database import StatementPool
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.engine import build_engine
from headrace.adapters.event_bus import EventBus
from headrace.adapters.providers import build_providers
from headrace.adapters.providers.tone3000 import Tone3000Provider
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.readiness import check_readiness
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.submission_batcher import SubmissionBatcher
from headrace.adapters.tasks import cancel_and_wait
from headrace.adapters.tone3000 import Tone3000
from headrace.api import problems
from headrace.api.accounts.api_keys import ApiKeyController
from headrace.api.accounts.controller import UserController, list_audit, show_me
from headrace.api.accounts.job_tokens import JobTokenController
from headrace.api.auth.authentication import Authenticator
from headrace.api.auth.origins import Origins, cross_origin
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.revocation_watch import RevocationWatch
from headrace.api.auth.sign_in import SignIn
from headrace.api.auth.tokens import Tokens
from headrace.api.contract import pages as docs
from headrace.api.dependencies import (
    Services,
    provide_after_commit,
    provide_api_keys,
    provide_audit_log,
    provide_audit_note,
    provide_files,
    provide_jobs,
    provide_pipelines,
    provide_presets,
    provide_services,
    provide_session,
    provide_tags,
    provide_user,
    provide_users,
)
from headrace.api.files.controller import FileController
from headrace.api.graphql.routes import graph_routes
from headrace.api.health import HealthController
from headrace.api.jobs.controller import JobController
from headrace.api.live.hub import Hub
from headrace.api.live.overviews import Overviews
from headrace.api.login.controller import LoginController
from headrace.api.middleware.access import Admission, check_routes
from headrace.api.middleware.rate_limits import RateLimits
from headrace.api.middleware.request_checks import check_request
from headrace.api.middleware.response_headers import ResponseHeadersMiddleware
from headrace.api.pipelines import PipelineController
from headrace.api.presets.controller import PresetController
from headrace.api.streams.job_socket import stream_job
from headrace.api.streams.overview_socket import stream_jobs
from headrace.api.streams.snapshots import snapshot_loader
from headrace.api.streams.sse import stream_job_events
from headrace.api.tags import TagController
from headrace.api.tones import ToneController
from headrace.domain.accounts.credential_repository import CredentialRepository
from headrace.domain.accounts.login_attempt_repository import LoginAttemptRepository
from headrace.domain.accounts.provider_account_repository import ProviderAccountRepository
from headrace.domain.accounts.session_repository import SessionRepository
from headrace.domain.events.log import PostgresEventLog
from headrace.domain.jobs.overview.overview_repository import OverviewRepository
from headrace.domain.jobs.submission.submit_repository import SubmitRepository
from headrace.domain.jobs.submission.submitter import Submitter
from headrace.settings import SAMPLE_SECRET, Settings, read_settings

_log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, on_broken: Callable[[], None] | None = None) -> Litestar:
    """The application; connects when it is started.

    *on_broken* is called when a loop that everything rests on ends by itself: the process should be replaced.

    Raises:
        SettingsError: a setting is bad or missing.
    """
    settings = settings or read_settings()
    settings.needs("database_url")
    api = Router(
        "/api/v1",
        route_handlers=[
            JobController,
            FileController,
            PipelineController,
            JobTokenController,
            ApiKeyController,
            UserController,
            show_me,
            list_audit,
            ToneController,
            PresetController,
            TagController,
            stream_job,
            stream_job_events,
            stream_jobs,
        ],
    )
    tokens = Tokens(_signing_key(settings), settings.job_token_key)
    app = Litestar(
        route_handlers=[api, HealthController, LoginController, *docs.routes(), *graph_routes(settings)],
        dependencies={
            "services": Provide(provide_services),
            # Not the names of fields: Litestar blames itself for a fault in a field named as a dependency.
            "current_user": Provide(provide_user),
            "after_commit": Provide(provide_after_commit),
            "db_session": Provide(provide_session),
            "job_service": Provide(provide_jobs),
            "file_service": Provide(provide_files),
            "pipeline_service": Provide(provide_pipelines),
            "user_service": Provide(provide_users),
            "key_service": Provide(provide_api_keys),
            "audit_service": Provide(provide_audit_log),
            "audit_note": Provide(provide_audit_note),
            "preset_service": Provide(provide_presets),
            "tag_service": Provide(provide_tags),
        },
        exception_handlers={Exception: problems.handle, HTTPException: problems.handle},
        before_request=check_request,
        middleware=[Admission(Origins(settings, tokens))],
        cors_config=cross_origin(settings),
        lifespan=[partial(_run_services, settings=settings, tokens=tokens, on_broken=on_broken)],
        openapi_config=docs.OPENAPI,
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
        debug=False,
    )
    check_routes(app.routes)
    # Before everything else: middleware is asked for known paths alone.
    app.asgi_handler = ResponseHeadersMiddleware(
        app.asgi_handler,
        Proxies(settings),
        is_production=settings.env == "production",
        differs_by_origin=bool(settings.cors_origins),
    )
    return app


def _signing_key(settings: Settings) -> str:
    """What tokens are signed with; where strangers may ask never the sample, which everybody knows."""
    if settings.auth == "local" or settings.secret_key != SAMPLE_SECRET:
        return settings.secret_key
    _log.warning("sample_secret_key", warning="job tokens of this process count nowhere else")
    return secrets.token_hex(32)


@asynccontextmanager
async def _run_services(
    app: Litestar, settings: Settings, tokens: Tokens, on_broken: Callable[[], None] | None
) -> AsyncGenerator[None, None]:
    engine = build_engine(str(settings.database_url))
    pool = await StatementPool.open(str(settings.database_url), size=4)
    submitting = await StatementPool.open(str(settings.database_url), size=4)
    submission_batcher = SubmissionBatcher(SubmitRepository(submitting).store)
    redis = build_redis(settings.redis_url, connections=32) if settings.redis_url else None
    bus = EventBus(redis)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    providers = build_providers(settings.provider_settings) if settings.auth == "token" else None
    tone3000 = (providers or {}).get("tone3000")
    cipher = Cipher(settings.secret_key)
    services = Services(
        settings=settings,
        engine=engine,
        sessions=sessions,
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
        hub=Hub(bus, PostgresEventLog(pool), Overviews(bus, OverviewRepository(pool))),
        snapshots=snapshot_loader(sessions),
        doorbell=Doorbell(redis),
        publisher=RedisPublisher(redis),
        submitter=Submitter(submitting, submission_batcher.store),
        blobs=BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes),
        check_readiness=partial(check_readiness, pool, redis),
    )
    app.state.update(State({"services": services}))
    tasks = [
        asyncio.create_task(loop)
        for loop in (
            services.hub.run(),
            services.revocation_watch.run(),
            services.doorbell.run(),
            services.publisher.run(),
            submission_batcher.run(),
        )
    ]
    for task in tasks:
        task.add_done_callback(partial(_report_end, on_broken))
    _log.info("api_ready")
    try:
        yield
    finally:
        await services.hub.say_goodbye()
        await cancel_and_wait(tasks)
        await services.publisher.drain()
        await services.sign_in.close()
        if redis is not None:
            await close_redis(redis)
        await pool.close()
        await submitting.close()
        await engine.dispose()


def _report_end(on_broken: Callable[[], None] | None, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("service_loop_ended", exc_info=error)
        if on_broken is not None:
            on_broken()
