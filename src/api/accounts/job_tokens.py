"""/jobs/{id}/tokens: short-lived leave to watch one job, for a browser."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from litestar import Controller, delete, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from headrace.api.accounts.schemas import JobTokenView, MakeJobToken
from headrace.api.dependencies import Services
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.service import JobService


class JobTokenController(Controller):
    path = "/jobs/{job_id:uuid}/tokens"
    tags = ("jobs",)

    @post(operation_id="makeJobToken", scope=Scope.JOBS_WRITE)
    async def make(
        self,
        job_id: FromPath[UUID],
        data: JSONBody[MakeJobToken],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        services: NamedDependency[Services],
    ) -> JobTokenView:
        """Make a token. It is not kept: all of a job's tokens are revoked together."""
        await job_service.get(job_id, current_user.reach)
        now = datetime.now(UTC)
        until = now.replace(microsecond=0) + timedelta(seconds=data.expires_in)
        token = services.tokens.job(job_id, data.scope, now=now, until=until)
        return JobTokenView(token=token, scope=data.scope, expires_at=until)

    @delete(operation_id="revokeJobTokens", scope=Scope.JOBS_WRITE)
    async def revoke(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> None:
        """Revoke every token of the job that was made up to now, here or elsewhere."""
        await job_service.revoke_tokens(job_id, current_user.reach)
