"""/pipelines: what can be submitted."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from headrace.api.schemas import Limit, Offset, Page, PipelineView
from headrace.domain.accounts.scopes import Scope
from headrace.domain.pipelines.service import PipelineService


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
        newest = await pipeline_service.repository.newest()
        shown = [PipelineView.of(one) for one in newest[offset : offset + limit]]
        return Page(shown, len(newest), limit, offset)

    @get("/{name:str}", operation_id="getPipeline", scope=Scope.JOBS_READ)
    async def show(
        self,
        name: FromPath[str],
        pipeline_service: NamedDependency[PipelineService],
    ) -> PipelineView:
        """The newest version of one pipeline."""
        return PipelineView.of(await pipeline_service.get_version(name))
