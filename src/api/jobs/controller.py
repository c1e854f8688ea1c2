"""/jobs: submit, look, change, cancel, retry, delete."""

from collections.abc import Set
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
from headrace.api.files.schemas import FileView
from headrace.api.jobs.detail import JobDetail
from headrace.api.jobs.schemas import EventPage, JobView, PatchJob, StepView, SubmitBatch, SubmitJob
from headrace.api.jobs.submitting import IdempotencyKey, accepted, key_of, submit, submit_one
from headrace.api.query_params import (
    IdText,
    Search,
    parse_order_by,
    parse_set,
    parse_uuid,
    require_one_of,
    set_schema,
    sort_options,
)
from headrace.api.schemas import Items, Limit, Offset, Page
from headrace.api.timestamps import MomentText, moment_of
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.files.repository import FileFilter
from headrace.domain.files.service import FileService
from headrace.domain.jobs.errors import CursorBeyondHeadError
from headrace.domain.jobs.filters import Include, JobFilter
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.repository import SORT_COLUMNS
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import JobState
from headrace.domain.jobs.submission.submission import JobSpec

Cursor = Annotated[int, QueryParameter(ge=0, le=2**53 - 1)]

IncludeQuery = Annotated[str | None, QueryParameter(max_length=200, schema_extra=set_schema(Include))]

# Steps hold outputs, so a page of them is heavier than one of jobs.
_MOST_WITH_PARTS: Final = 100


class JobController(Controller):
    path = "/jobs"
    tags = ("jobs",)

    @post(status_code=HTTP_202_ACCEPTED, operation_id="submitJob", scope=Scope.JOBS_WRITE)
    async def submit(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[SubmitJob],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[JobView]:
        """Accept a job. The answer means stored, not started."""
        key = await key_of(request, idempotency_key, "jobs", current_user.id)
        return await submit_one(request, services, current_user.id, _order(data, "$"), key)

    @post("/batch", status_code=HTTP_202_ACCEPTED, operation_id="submitJobs", scope=Scope.JOBS_WRITE)
    async def submit_batch(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[SubmitBatch],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[Items[JobView]]:
        """Accept up to 1,000 jobs, all or none."""
        answer = await submit(
            request,
            services,
            current_user.id,
            [_order(one, f"$.jobs[{place}]") for place, one in enumerate(data.jobs)],
            lambda jobs: msgspec.json.encode(Items([JobView.accepted(job, current_user.id) for job in jobs])),
            key=await key_of(request, idempotency_key, "batch", current_user.id),
            at="$.jobs[{}]",
        )
        return accepted(answer, {})

    @get(operation_id="listJobs", scope=Scope.JOBS_READ)
    async def list_jobs(
        self,
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        in_state: Annotated[str | None, QueryParameter(name="state", enum=list(JobState))] = None,
        pipeline: Annotated[str | None, QueryParameter(max_length=64)] = None,
        tag: Annotated[str | None, QueryParameter(max_length=64)] = None,
        search: Search = None,
        created_after: MomentText = None,
        created_before: MomentText = None,
        preset: IdText = None,
        owner: IdText = None,
        include: IncludeQuery = None,
        order_by: Annotated[str, QueryParameter(enum=sort_options(SORT_COLUMNS))] = "-created_at",
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> Page[JobDetail]:
        """The caller's jobs, newest first unless asked otherwise; an admin's are everybody's."""
        require_one_of("state", in_state, JobState)
        wanted = JobFilter(
            owner_id=parse_uuid("owner", owner),
            state=in_state,
            pipeline=pipeline,
            tag=tag,
            search=search or None,
            created_after=moment_of(created_after, "query.created_after"),
            created_before=moment_of(created_before, "query.created_before"),
            preset_id=parse_uuid("preset", preset),
            order_by=parse_order_by(order_by, SORT_COLUMNS),
            limit=limit,
            offset=offset,
            include=parse_set("include", include, Include),
        )
        if wanted.include and limit > _MOST_WITH_PARTS:
            raise InvalidInputError("query.limit", f"with include, limit is at most {_MOST_WITH_PARTS}")
        found, total = await job_service.get_page(current_user.reach, wanted)
        return Page(await _details(job_service, found, wanted.include), total, limit, offset)

    @get("/{job_id:uuid}", operation_id="getJob", scope=Scope.JOBS_READ, job_token=True)
    async def show(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        include: IncludeQuery = None,
    ) -> JobDetail:
        """One job; `include=steps,files` shows them with it."""
        parts = parse_set("include", include, Include)
        job = await job_service.get(job_id, current_user.reach, parts)
        return (await _details(job_service, [job], parts))[0]

    @patch("/{job_id:uuid}", operation_id="patchJob", scope=Scope.JOBS_WRITE)
    async def change(
        self,
        job_id: FromPath[UUID],
        data: JSONBody[PatchJob],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> JobView:
        """Change tags or meta; what is absent stays."""
        job = await job_service.update(
            job_id,
            current_user.reach,
            tags=None if data.tags is UNSET else data.tags,
            meta=None if data.meta is UNSET else data.meta,
        )
        return (await _views(job_service, [job]))[0]

    @delete("/{job_id:uuid}", operation_id="deleteJob", scope=Scope.JOBS_WRITE)
    async def remove(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> None:
        """Delete a job that has ended, its history and its files."""
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
    ) -> JobView:
        """Stop a job: at once when it waits, soon when it runs. Asking again is fine."""
        return (await _views(job_service, [await job_service.cancel(job_id, current_user.reach)]))[0]

    @post(
        "/{job_id:uuid}/retry", status_code=HTTP_202_ACCEPTED, operation_id="retryJob", scope=Scope.JOBS_WRITE
    )
    async def retry(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> JobView:
        """Queue a failed job again; finished steps stay finished."""
        return (await _views(job_service, [await job_service.retry(job_id, current_user.reach)]))[0]

    @get("/{job_id:uuid}/steps", operation_id="listSteps", scope=Scope.JOBS_READ, job_token=True)
    async def steps(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> Items[StepView]:
        """The step runs, in the order of the graph."""
        job = await job_service.get(job_id, current_user.reach)
        reported = job.progress_steps or {}
        return Items([StepView.of(run, reported) for run in await job_service.get_steps(job)])

    @get("/{job_id:uuid}/files", operation_id="listJobFiles", scope=Scope.JOBS_READ, job_token=True)
    async def files(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        file_service: NamedDependency[FileService],
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> Page[FileView]:
        """What the job's steps have made, oldest first."""
        await job_service.get(job_id, current_user.reach)
        found, total = await file_service.get_page(
            current_user.reach,
            FileFilter(job_id=job_id, order_by="created_at", limit=limit, offset=offset),
        )
        return Page([FileView.of(file) for file in found], total, limit, offset)

    @get("/{job_id:uuid}/events", operation_id="listEvents", scope=Scope.JOBS_READ, job_token=True)
    async def events(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        services: NamedDependency[Services],
        after: Cursor = 0,
        limit: Limit = 100,
    ) -> Response[EventPage]:
        """The job's history after a number, in order; the same bytes as on the socket."""
        job = await job_service.get(job_id, current_user.reach)
        if after > job.event_seq:
            raise CursorBeyondHeadError(after, job.event_seq)
        events = await services.hub.log.read_after(job_id, after, limit)
        head = max([job.event_seq, *(event.seq for event in events)])
        page = EventPage([msgspec.Raw(event.frame) for event in events], head)  # type: ignore[misc]
        return Response(page)


def _order(data: SubmitJob, at: str) -> JobSpec:
    return data.spec(at, pipeline=data.pipeline, version=data.version, params=data.params)


async def _views(jobs: JobService, found: list[Job]) -> list[JobView]:
    why = await jobs.why_waiting(found)
    return [JobView.of(job, why.get(job.id)) for job in found]


async def _details(jobs: JobService, found: list[Job], parts: Set[Include]) -> list[JobDetail]:
    why = await jobs.why_waiting(found)
    return [JobDetail.with_parts(job, why.get(job.id), parts) for job in found]
