"""Dependencies of handlers: the services of the process, and those around the request's transaction."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct, field
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.fair_turns import FairTurns
from headrace.adapters.metrics.api_metrics import ApiMetrics
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.readiness import Readiness
from headrace.adapters.tone3000 import Tone3000
from headrace.adapters.tracing.tracing import Tracing
from headrace.api.auth.audit import AuditNote, record_admin_action
from headrace.api.auth.authentication import Authenticator
from headrace.api.auth.origins import Origins
from headrace.api.auth.revocation_watch import RevocationWatch
from headrace.api.auth.sign_in import SignIn
from headrace.api.auth.tokens import Tokens
from headrace.api.live.hub import Hub
from headrace.api.live.job_stream import Snapshot
from headrace.api.middleware.rate_limits import RateLimits
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.reach import Reach
from headrace.domain.accounts.service import ApiKeyService, AuditService, UserService
from headrace.domain.database import Database
from headrace.domain.files.service import FileService
from headrace.domain.heavy_work import HeavyWork
from headrace.domain.jobs.search import JobSearch
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.submission.submitter import Submitter
from headrace.domain.pipelines.service import PipelineService
from headrace.domain.presets.service import PresetService
from headrace.domain.quotas.usage import OwnerUsage
from headrace.domain.retention.report import RetentionReport
from headrace.domain.tags.service import TagService
from headrace.settings import Settings


class Services(Struct, kw_only=True):
    """Everything that one API process shares between requests. `app.py` builds it."""

    settings: Settings
    engine: AsyncEngine
    read_engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    read_sessions: async_sessionmaker[AsyncSession]
    search: JobSearch
    authenticator: Authenticator
    tokens: Tokens
    limits: RateLimits
    origins: Origins
    sign_in: SignIn
    tone3000: Tone3000 | None
    revocation_watch: RevocationWatch
    hub: Hub
    load_snapshot: Callable[[tuple[Reach, UUID]], Awaitable[Snapshot | None]]
    doorbell: Doorbell
    publisher: RedisPublisher
    submitter: Submitter
    heavy_work: HeavyWork
    graphql_turns: FairTurns
    usage: OwnerUsage
    retention: RetentionReport
    numbers: Database
    blobs: BlobStore
    metrics: ApiMetrics
    tracing: Tracing | None
    check_readiness: Callable[[], Awaitable[Readiness]]


class AfterCommit(Struct):
    """Actions that run after the commit, so that a change that is rolled back is never published."""

    actions: list[Callable[[], None]] = field(default_factory=list)

    def add(self, action: Callable[[], None]) -> None:
        self.actions.append(action)


async def provide_services(state: State) -> Services:
    services: Services = state.services
    return services


async def provide_user(request: Request[Any, Any, Any]) -> CurrentUser:
    """Return the caller, whom the access middleware has authenticated."""
    user: CurrentUser = request.scope["user"]
    return user


async def provide_after_commit() -> AfterCommit:
    return AfterCommit()


async def provide_audit_note() -> AuditNote:
    return AuditNote()


async def provide_session(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],
    after_commit: NamedDependency[AfterCommit],
    audit_note: NamedDependency[AuditNote],
) -> AsyncGenerator[AsyncSession, None]:
    """Open the one transaction of a request. If the commit fails, the request fails.

    An admin's change and its entry in the audit log are committed together.
    """
    is_read = request.method in ("GET", "HEAD")
    sessions = services.read_sessions if is_read else services.sessions
    async with sessions.begin() as session:
        yield session
        if not is_read:
            record_admin_action(session, request, audit_note)
    for action in after_commit.actions:
        action()


async def provide_jobs(
    db_session: NamedDependency[AsyncSession],
    services: NamedDependency[Services],
    after_commit: NamedDependency[AfterCommit],
) -> JobService:
    jobs = JobService(db_session, services.settings.quotas)
    after_commit.add(lambda: services.publisher.publish(jobs.news))
    after_commit.add(lambda: services.doorbell.ring(jobs.rings))
    return jobs


async def provide_files(
    db_session: NamedDependency[AsyncSession], services: NamedDependency[Services]
) -> FileService:
    return FileService(db_session, services.settings.quotas)


async def provide_users(db_session: NamedDependency[AsyncSession]) -> UserService:
    return UserService(session=db_session)


async def provide_api_keys(db_session: NamedDependency[AsyncSession]) -> ApiKeyService:
    return ApiKeyService(session=db_session)


async def provide_audit_log(db_session: NamedDependency[AsyncSession]) -> AuditService:
    return AuditService(session=db_session)


async def provide_presets(
    db_session: NamedDependency[AsyncSession], services: NamedDependency[Services]
) -> PresetService:
    return PresetService(db_session, services.heavy_work)


async def provide_tags(db_session: NamedDependency[AsyncSession]) -> TagService:
    return TagService(session=db_session)


async def provide_pipelines(db_session: NamedDependency[AsyncSession]) -> PipelineService:
    return PipelineService(session=db_session)
