"""/pipelines: the pipelines that jobs can be submitted to."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from headrace.api.auth.audit import AuditNote
from headrace.api.errors import InvalidInputError
from headrace.api.schemas import Limit, Offset, Page, view_of
from headrace.domain.accounts.scopes import Scope
from headrace.domain.paging import check_offset
from headrace.domain.pipelines.definition import MAX_VERSION
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.service import PipelineService


class GraphStep(Struct, kw_only=True):
    """One step in a pipeline's graph."""

    name: str
    after: list[str]
    for_each: bool
    runs_in: str
    retries: int
    timeout_seconds: float
    weight: float = 1.0


class PipelineView(Struct, kw_only=True):
    """The newest version of a pipeline. *served*: a live worker runs jobs of it."""

    name: str
    version: int
    description: str
    params_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    steps: list[GraphStep]
    served: bool

    @classmethod
    def of(cls, pipeline: PipelineVersion) -> "PipelineView":
        """Show a registered version. `result` of its graph's steps is left out."""
        return view_of(cls, pipeline, steps=msgspec.convert(pipeline.graph, list[GraphStep]))


class PipelineController(Controller):
    path = "/pipelines"
    tags = ("pipelines",)

    @get(operation_id="listPipelines", scope=Scope.JOBS_READ)
    async def list_pipelines(
        self,
        pipeline_service: NamedDependency[PipelineService],
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> Page[PipelineView]:
        """The newest version of every pipeline, by name."""
        check_offset(offset)
        newest = await pipeline_service.get_newest()
        views = [PipelineView.of(version) for version in newest[offset : offset + limit]]
        return Page(views, len(newest), limit, offset)

    @get("/{name:str}", operation_id="getPipeline", scope=Scope.JOBS_READ, tagged=True)
    async def show(
        self,
        name: FromPath[str],
        pipeline_service: NamedDependency[PipelineService],
    ) -> PipelineView:
        """The newest version of one pipeline."""
        return PipelineView.of(await pipeline_service.get(name))

    @delete("/{name:str}", operation_id="deletePipeline", scope=Scope.ADMIN, local_scope=Scope.JOBS_WRITE)
    async def remove(
        self,
        request: Request[Any, Any, Any],
        name: FromPath[str],
        pipeline_service: NamedDependency[PipelineService],
        audit_note: NamedDependency[AuditNote],
        version: Annotated[int | None, QueryParameter(ge=1, le=MAX_VERSION)] = None,
    ) -> None:
        """Remove all versions of a pipeline, or one, that no live worker serves and no unfinished job names.

        Jobs of the past stay. A removed version is not listed and takes no jobs, until a worker registers it.
        """
        # Litestar reads `version=null` as no version, which must not remove them all.
        if version is None and "version" in request.query_params:
            raise InvalidInputError("query.version", "a version is a whole number from 1")
        audit_note.detail = None if version is None else {"version": version}
        await pipeline_service.remove(name, version)
