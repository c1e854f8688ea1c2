"""/presets: saved parameters of pipelines, and submitting jobs from them."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_202_ACCEPTED

from headrace.api.auth.audit import AuditNote
from headrace.api.dependencies import Services
from headrace.api.jobs.schemas import JobView
from headrace.api.jobs.submitting import IdempotencyKey, accepted_one, build_key, submit_one
from headrace.api.middleware.request_bodies import VALUE_BODY
from headrace.api.presets.schemas import PatchPreset, PresetView, RunPreset, SavePreset
from headrace.api.query_params import Search, parse_after, parse_order_by, sort_options
from headrace.api.schemas import After, Limit, Offset, Page, Reference, page_view
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.errors import PresetNotFoundError
from headrace.domain.presets.filters import PresetFilter
from headrace.domain.presets.repository import SORT_COLUMNS
from headrace.domain.presets.service import PresetService


class PresetController(Controller):
    path = "/presets"
    tags = ("presets",)

    @get(operation_id="listPresets", scope=Scope.JOBS_READ)
    async def list_presets(
        self,
        current_user: NamedDependency[CurrentUser],
        preset_service: NamedDependency[PresetService],
        pipeline: Annotated[str | None, QueryParameter(max_length=64)] = None,
        tag: Annotated[str | None, QueryParameter(max_length=64)] = None,
        search: Search = None,
        order_by: Annotated[str, QueryParameter(enum=sort_options(SORT_COLUMNS))] = "-created_at",
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> Page[PresetView]:
        """The caller's presets. *search* finds a part of the title or the description."""
        filters = PresetFilter(
            pipeline=pipeline,
            tag=tag,
            search=search or None,
            order_by=parse_order_by(order_by, SORT_COLUMNS),
            limit=limit,
            offset=offset,
            after=parse_after(after, offset),
        )
        return page_view(await preset_service.get_page(current_user.reach, filters), filters, PresetView.of)

    @post(operation_id="createPreset", scope=Scope.JOBS_WRITE, max_body=VALUE_BODY)
    async def create(
        self,
        data: JSONBody[SavePreset],
        current_user: NamedDependency[CurrentUser],
        preset_service: NamedDependency[PresetService],
        audit_note: NamedDependency[AuditNote],
    ) -> Response[PresetView]:
        """Save parameters under a title that is new among the caller's presets."""
        preset = await preset_service.create(
            current_user.id,
            title=data.title,
            description=data.description,
            pipeline=data.pipeline,
            params=data.params,
            tags=data.tags,
        )
        audit_note.object_id = preset.id
        return Response(PresetView.of(preset), headers={"Location": f"/api/v1/presets/{preset.id}"})

    @get("/{preset_id:uuid}", operation_id="getPreset", scope=Scope.JOBS_READ, tagged=True)
    async def show(
        self,
        preset_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        preset_service: NamedDependency[PresetService],
    ) -> PresetView:
        """One preset."""
        return PresetView.of(await preset_service.get(preset_id, current_user.reach))

    @put("/{preset_id:uuid}", operation_id="replacePreset", scope=Scope.JOBS_WRITE, max_body=VALUE_BODY)
    async def replace(
        self,
        preset_id: FromPath[UUID],
        data: JSONBody[SavePreset],
        current_user: NamedDependency[CurrentUser],
        preset_service: NamedDependency[PresetService],
    ) -> PresetView | Reference:
        """Replace the whole preset. Absent fields are cleared."""
        preset = await preset_service.update(preset_id, current_user.reach, data.changes())
        return PresetView.of(preset) if Scope.JOBS_READ in current_user.scopes else Reference(preset_id)

    @patch("/{preset_id:uuid}", operation_id="patchPreset", scope=Scope.JOBS_WRITE, max_body=VALUE_BODY)
    async def change(
        self,
        preset_id: FromPath[UUID],
        data: JSONBody[PatchPreset],
        current_user: NamedDependency[CurrentUser],
        preset_service: NamedDependency[PresetService],
    ) -> PresetView | Reference:
        """Change some fields. Absent fields stay."""
        preset = await preset_service.update(preset_id, current_user.reach, data.changes())
        return PresetView.of(preset) if Scope.JOBS_READ in current_user.scopes else Reference(preset_id)

    @delete("/{preset_id:uuid}", operation_id="deletePreset", scope=Scope.JOBS_WRITE)
    async def remove(
        self,
        preset_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        preset_service: NamedDependency[PresetService],
        keep_jobs: FromQuery[bool] = True,
    ) -> None:
        """Delete a preset. Its jobs stay; `keep_jobs=false` deletes them with it, if all have ended."""
        await preset_service.delete(preset_id, current_user.reach, keep_jobs=keep_jobs)

    @post(
        "/{preset_id:uuid}/jobs",
        status_code=HTTP_202_ACCEPTED,
        operation_id="submitPreset",
        scope=Scope.JOBS_WRITE,
        max_body=VALUE_BODY,
    )
    async def run(
        self,
        request: Request[Any, Any, Any],
        preset_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        services: NamedDependency[Services],
        data: JSONBody[RunPreset | None] = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[JobView | Reference]:
        """Accept a job of the preset, owned by the preset's owner. It is stored, but not yet started."""
        # The job repeats the preset's parameters, unlike other submissions, which repeat the request.
        is_shown = Scope.JOBS_READ in current_user.scopes
        call = f"presets/{preset_id}/jobs"
        try:
            # A session of its own, so that no connection is held while the job is stored.
            async with services.read_sessions() as session:
                preset = await PresetService(session, services.heavy_work).get(preset_id, current_user.reach)
        except PresetNotFoundError:
            # It may have been deleted since the key was used.
            key = await build_key(request, idempotency_key, call, current_user.id)
            replayed = None if key is None else await services.submitter.replay(current_user.id, key)
            if replayed is None:
                raise
            return accepted_one(replayed, is_shown=is_shown)
        owner_id = preset.owner_id
        key = await build_key(request, idempotency_key, call, owner_id)
        spec = (data or RunPreset()).spec_of(preset)
        return await submit_one(request, services, owner_id, spec, key, is_shown=is_shown)
