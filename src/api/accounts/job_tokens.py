"""/jobs/{id}/tokens: short-lived tokens with which a browser watches one job."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from litestar import Controller, delete, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from headrace.api.accounts.schemas import JobTokenView, MakeJobToken
from headrace.api.auth.tokens import TokenMaker
from headrace.api.dependencies import Services
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.service import JobService


class JobTokenController(Controller):
    path = "/jobs/{job_id:uuid}/tokens"
    tags = ("jobs",)

    @post(operation_id="makeJobToken", scope=Scope.JOBS_WRITE, shows_secret=True)
    async def make(
        self,
        job_id: FromPath[UUID],
        data: JSONBody[MakeJobToken],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        services: NamedDependency[Services],
    ) -> JobTokenView:
        """Issue a token that gives no right that the caller lacks, and ends with the caller's credential.

        It is not stored, so a job's tokens can only be revoked together.
        """
        current_user.needs(Scope.JOBS_READ)
        await job_service.get(job_id, current_user.reach)
        now = datetime.now(UTC)
        expires_at = now + timedelta(seconds=data.expires_in)
        if current_user.expires_at is not None:
            expires_at = min(expires_at, current_user.expires_at.astimezone(UTC))
        expires_at = expires_at.replace(microsecond=0)
        token = services.tokens.issue_job(
            job_id, data.scope, now=now, until=expires_at, maker=TokenMaker.of(current_user)
        )
        return JobTokenView(token=token, scope=data.scope, expires_at=expires_at)

    @delete(operation_id="revokeJobTokens", scope=Scope.JOBS_WRITE)
    async def revoke(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> None:
        """Revoke all tokens of the job that were issued up to now, by any process."""
        await job_service.revoke_tokens(job_id, current_user.reach)
