"""Queries about registered pipelines."""

from collections.abc import Sequence

from sqlalchemy import Select, select

from headrace.domain.base import Session
from headrace.domain.pipelines.models import PipelineVersion


class PipelineRepository:
    """Pipelines belong to all users, so these queries carry no reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch_newest(self) -> Sequence[PipelineVersion]:
        """Fetch the newest version of each pipeline, in the order of their names."""
        return (await self._session.execute(select_newest())).scalars().all()

    async def fetch(self, name: str, version: int | None = None) -> PipelineVersion | None:
        """Fetch one version of a pipeline, by default its newest."""
        statement = select(PipelineVersion).where(PipelineVersion.name == name)
        if version is not None:
            statement = statement.where(PipelineVersion.version == version)
        statement = statement.order_by(PipelineVersion.version.desc()).limit(1)
        return (await self._session.execute(statement)).scalar_one_or_none()


def select_newest() -> Select[tuple[PipelineVersion]]:
    """Select the newest version of each pipeline, in the order of their names."""
    return (
        select(PipelineVersion)
        .distinct(PipelineVersion.name)
        .order_by(PipelineVersion.name, PipelineVersion.version.desc())
    )
