"""Queries about pipelines."""

from typing import Any

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from domain.base import DATABASE_NOW
from domain.pipelines.models import PipelineVersion


class PipelineRepository(SQLAlchemyAsyncRepository[PipelineVersion]):
    model_type = PipelineVersion

    async def newest(self) -> list[PipelineVersion]:
        """The newest version of each pipeline, by name."""
        statement = (
            select(PipelineVersion)
            .distinct(PipelineVersion.name)
            .order_by(PipelineVersion.name, PipelineVersion.version.desc())
        )
        return list((await self.session.execute(statement)).scalars())

    async def find(self, name: str, version: int | None = None) -> PipelineVersion | None:
        """That version of the pipeline, or its newest."""
        statement = select(PipelineVersion).where(PipelineVersion.name == name)
        if version is not None:
            statement = statement.where(PipelineVersion.version == version)
        statement = statement.order_by(PipelineVersion.version.desc()).limit(1)
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def add_if_new(self, **columns: Any) -> PipelineVersion | None:
        """Insert a version; None when it is there already, even from a race."""
        statement = (
            insert(PipelineVersion)
            .values(id=uuid7(), created_at=DATABASE_NOW, updated_at=DATABASE_NOW, **columns)
            .on_conflict_do_nothing(index_elements=["name", "version"])
            .returning(PipelineVersion)
        )
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def replace(self, known: PipelineVersion, **columns: Any) -> None:
        for column, value in columns.items():
            setattr(known, column, value)
        known.updated_at = (await self.session.execute(select(func.statement_timestamp()))).scalar_one()
        await self.session.flush()
