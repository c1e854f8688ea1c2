"""/jobs: submit, list, change, cancel, retry and delete jobs."""

from collections.abc import Sequence, Set
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_202_ACCEPTED
from msgspec import UNSET

from headrace.api.dependencies import Services
from headrace.api.errors import InvalidInputError
from headrace.api.jobs.detail import JobDetail, JobPage
from headrace.api.jobs.schemas import JobView, PatchJob, SubmitBatch, SubmitJob
from headrace.api.jobs.submitting import IdempotencyKey, accepted, build_key, submit, submit_one
from headrace.api.middleware.request_bodies import ANY_BODY, JOB_BODY, VALUE_BODY
from headrace.api.query_params import (
    IdText,
    Search,
    list_schema,
    parse_after,
    parse_members,
    parse_order_by,
    parse_set,
    parse_uuid,
    set_schema,
    sort_options,
)
from headrace.api.schemas import After, Items, Limit, Offset, Reference
from headrace.api.timestamps import TimestampText, parse_timestamp
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.filters import Include, JobFilter
from headrace.domain.jobs.job_lists import SORT_COLUMNS
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import JobState
from headrace.domain.jobs.submission.submission import JobSpec

IncludeQuery = Annotated[str | None, QueryParameter(max_length=200, schema_extra=set_schema(Include))]
StateQuery = Annotated[list[str] | None, QueryParameter(name="state", schema_extra=list_schema(JobState))]

# Steps contain outputs, so a job with its steps is much larger than a plain job.
_MAX_WITH_PARTS: Final = 100


class JobController(Controller):
    path = "/jobs"
    tags = ("jobs",)

    @post(status_code=HTTP_202_ACCEPTED, operation_id="submitJob", scope=Scope.JOBS_WRITE, max_body=JOB_BODY)
    async def submit(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[SubmitJob],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[JobView]:
        """Accept a job. It is stored, but not yet started."""
        key = await build_key(request, idempotency_key, "jobs", current_user.id)
        return await submit_one(request, services, current_user.id, _spec_of(data, "$"), key)

    @post(
        "/batch",
        status_code=HTTP_202_ACCEPTED,
        operation_id="submitJobs",
        scope=Scope.JOBS_WRITE,
        max_body=ANY_BODY,
    )
    async def submit_batch(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[SubmitBatch],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[Items[JobView]]:
        """Accept up to 1,000 jobs, all or none."""
        result = await submit(
            request,
            services,
            current_user.id,
            [_spec_of(job, f"$.jobs[{index}]") for index, job in enumerate(data.jobs)],
            lambda jobs: msgspec.json.encode(Items([JobView.accepted(job, current_user.id) for job in jobs])),
            key=await build_key(request, idempotency_key, "batch", current_user.id),
            at="$.jobs[{}]",
        )
        return accepted(result, {})

    @get(operation_id="listJobs", scope=Scope.JOBS_READ)
    async def list_jobs(
        self,
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        services: NamedDependency[Services],
        in_state: StateQuery = None,
        pipeline: Annotated[str | None, QueryParameter(max_length=64)] = None,
        queue: Annotated[str | None, QueryParameter(max_length=64)] = None,
        tag: Annotated[str | None, QueryParameter(max_length=64)] = None,
        search: Search = None,
        created_after: TimestampText = None,
        created_before: TimestampText = None,
        preset: IdText = None,
        owner: IdText = None,
        include: IncludeQuery = None,
        order_by: Annotated[str, QueryParameter(enum=sort_options(SORT_COLUMNS))] = "-created_at",
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> JobPage:
        """The caller's jobs, by default newest first. Admins see the jobs of all users.

        *state* may be repeated: jobs in any of these states match.
        *search* finds a part of the id, the pipeline's name, the parameters or meta of the newest jobs. If
        there are more jobs, `searched_back_to` says how far it looked; `created_before` continues from there.
        """
        filters = JobFilter(
            owner_id=parse_uuid("owner", owner),
            states=parse_members("state", in_state or (), JobState),
            pipeline=pipeline,
            queue=queue,
            tag=tag,
            search=search or None,
            created_after=parse_timestamp(created_after, "query.created_after"),
            created_before=parse_timestamp(created_before, "query.created_before"),
            preset_id=parse_uuid("preset", preset),
            order_by=parse_order_by(order_by, SORT_COLUMNS),
            limit=limit,
            offset=offset,
            after=parse_after(after, offset),
            include=parse_set("include", include, Include),
        )
        if filters.include and limit > _MAX_WITH_PARTS:
            raise InvalidInputError("query.limit", f"with include, limit is at most {_MAX_WITH_PARTS}")
        searched = await services.search.find(current_user.reach, filters)
        page = await job_service.get_page(current_user.reach, searched.filters)
        back_to = searched.back_to or page.looked_back_to
        return JobPage(
            await _details(job_service, page.items, filters.include),
            page.total,
            limit,
            offset,
            page.total_is_estimate,
            page.next,
            UNSET if back_to is None else back_to,
        )

    @get("/{job_id:uuid}", operation_id="getJob", scope=Scope.JOBS_READ, job_token=True, tagged=True)
    async def show(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        include: IncludeQuery = None,
    ) -> JobDetail:
        """One job; `include=steps,files` adds its steps and files."""
        included = parse_set("include", include, Include)
        job = await job_service.get(job_id, current_user.reach, included)
        return (await _details(job_service, [job], included))[0]

    @patch("/{job_id:uuid}", operation_id="patchJob", scope=Scope.JOBS_WRITE, max_body=VALUE_BODY)
    async def change(
        self,
        job_id: FromPath[UUID],
        request: Request[Any, Any, Any],
        data: JSONBody[PatchJob],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> JobView | Reference:
        """Change tags or meta, or pin the job. Absent fields stay."""
        # Litestar's conversion takes 0, 1 and words for booleans.
        if data.keep is not UNSET and not isinstance((await request.json())["keep"], bool):
            raise InvalidInputError("$.keep", "Expected `bool`")
        job = await job_service.update(
            job_id,
            current_user.reach,
            tags=None if data.tags is UNSET else data.tags,
            meta=None if data.meta is UNSET else data.meta,
            keep=None if data.keep is UNSET else data.keep,
        )
        return await _answer(job_service, job, current_user)

    @delete("/{job_id:uuid}", operation_id="deleteJob", scope=Scope.JOBS_WRITE)
    async def remove(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> None:
        """Delete a job that has ended, with its history and files."""
        await job_service.delete(job_id, current_user.reach)

    @post(
        "/{job_id:uuid}/cancel",
        status_code=HTTP_202_ACCEPTED,
        operation_id="cancelJob",
        scope=Scope.JOBS_WRITE,
        job_token=True,
    )
    async def cancel(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> JobView | Reference:
        """Cancel a job: at once if it is queued, soon if it runs. Repeating the call is harmless."""
        job = await job_service.cancel(job_id, current_user.reach)
        return await _answer(job_service, job, current_user)

    @post(
        "/{job_id:uuid}/retry", status_code=HTTP_202_ACCEPTED, operation_id="retryJob", scope=Scope.JOBS_WRITE
    )
    async def retry(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> JobView | Reference:
        """Queue a failed job again. Its finished steps are not repeated."""
        job = await job_service.retry(job_id, current_user.reach)
        return await _answer(job_service, job, current_user)


def _spec_of(data: SubmitJob, at: str) -> JobSpec:
    return data.spec(at, pipeline=data.pipeline, version=data.version, params=data.params)


async def _answer(job_service: JobService, job: Job, user: CurrentUser) -> JobView | Reference:
    """Return the job that *user* has changed, as far as *user* may read it."""
    if Scope.JOBS_READ not in user.scopes:
        return Reference(job.id)
    reasons = await job_service.why_waiting([job])
    return JobView.of(job, reasons.get(job.id))


async def _details(job_service: JobService, jobs: Sequence[Job], include: Set[Include]) -> list[JobDetail]:
    reasons = await job_service.why_waiting(jobs)
    return [JobDetail.of_loaded(job, reasons.get(job.id), include) for job in jobs]
