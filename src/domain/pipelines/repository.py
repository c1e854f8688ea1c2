"""Queries about pipelines."""

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import Select, select

from headrace.domain.pipelines.models import PipelineVersion


def select_newest() -> Select[tuple[PipelineVersion]]:
    """Return a select of the newest version of each pipeline, by name."""
    name, version = PipelineVersion.name, PipelineVersion.version
    return select(PipelineVersion).distinct(name).order_by(name, version.desc())


class PipelineRepository(SQLAlchemyAsyncRepository[PipelineVersion]):
    model_type = PipelineVersion

    async def newest(self) -> list[PipelineVersion]:
        """The newest version of each pipeline, by name."""
        return list((await self.session.execute(select_newest())).scalars())

    async def find(self, name: str, version: int | None = None) -> PipelineVersion | None:
        """That version of the pipeline, or its newest."""
        statement = select(PipelineVersion).where(PipelineVersion.name == name)
        if version is not None:
            statement = statement.where(PipelineVersion.version == version)
        statement = statement.order_by(PipelineVersion.version.desc()).limit(1)
        return (await self.session.execute(statement)).scalar_one_or_none()
