"""/jobs/{id}/steps, /files and /events: the parts of one job."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from headrace.api.dependencies import Services
from headrace.api.files.schemas import FileView
from headrace.api.jobs.schemas import EventPage, StepView
from headrace.api.query_params import parse_after
from headrace.api.schemas import After, Items, Limit, Offset, Page, page_view
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.files.repository import FileFilter
from headrace.domain.files.service import FileService
from headrace.domain.jobs.errors import CursorBeyondHeadError
from headrace.domain.jobs.service import JobService

Cursor = Annotated[int, QueryParameter(ge=0, le=2**53 - 1)]


class JobPartsController(Controller):
    path = "/jobs/{job_id:uuid}"
    tags = ("jobs",)

    @get("/steps", operation_id="listSteps", scope=Scope.JOBS_READ, job_token=True)
    async def steps(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
    ) -> Items[StepView]:
        """The step runs, in the order of the pipeline's graph."""
        job = await job_service.get(job_id, current_user.reach)
        reported = job.progress_steps or {}
        return Items([StepView.of(run, reported) for run in await job_service.get_steps(job)])

    @get("/files", operation_id="listJobFiles", scope=Scope.JOBS_READ, job_token=True)
    async def files(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        job_service: NamedDependency[JobService],
        file_service: NamedDependency[FileService],
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> Page[FileView]:
        """The files that the job's steps saved, oldest first."""
        await job_service.get(job_id, current_user.reach)
        filters = FileFilter(
            job_id=job_id,
            order_by="created_at",
            limit=limit,
            offset=offset,
            after=parse_after(after, offset),
        )
        return page_view(await file_service.get_page(current_user.reach, filters), filters, FileView.of)

    @get("/events", operation_id="listEvents", scope=Scope.JOBS_READ, job_token=True)
    async def events(
        self,
        job_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        after: Cursor = 0,
        limit: Limit = 100,
    ) -> Response[EventPage]:
        """The job's events after a number, in order; the same bytes as on the socket."""
        # A session of its own, so that no connection is held while another one reads the events.
        async with services.read_sessions() as session:
            job = await JobService(session).get(job_id, current_user.reach)
        if after > job.event_seq:
            raise CursorBeyondHeadError(after, job.event_seq)
        events = await services.hub.log.read_after(job_id, after, limit)
        head = max([job.event_seq, *(event.seq for event in events)])
        page = EventPage([msgspec.Raw(event.frame) for event in events], head)  # type: ignore[misc]
        return Response(page)
