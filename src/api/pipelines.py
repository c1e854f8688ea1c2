"""/pipelines: what can be submitted."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.authentication import CurrentUser
from api.schemas import Items, PipelineView
from domain.pipelines.service import PipelineService


class PipelineController(Controller):
    path = "/pipelines"
    tags = ("pipelines",)

    @get(operation_id="listPipelines")
    async def list_pipelines(
        self, user: NamedDependency[CurrentUser], pipelines: NamedDependency[PipelineService]
    ) -> Items[PipelineView]:
        """The newest version of every pipeline, by name."""
        _ = user
        return Items([PipelineView.of(one) for one in await pipelines.repository.newest()])

    @get("/{name:str}", operation_id="getPipeline")
    async def show(
        self,
        name: FromPath[str],
        user: NamedDependency[CurrentUser],
        pipelines: NamedDependency[PipelineService],
    ) -> PipelineView:
        """The newest version of one pipeline."""
        _ = user
        return PipelineView.of(await pipelines.get_version(name))
