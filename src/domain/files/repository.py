"""Queries about files."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import func, select

from domain.accounts.reach import Reach
from domain.base import DATABASE_NOW
from domain.files.models import File


class FileRepository(SQLAlchemyAsyncRepository[File]):
    model_type = File

    async def now(self) -> datetime:
        moment: datetime = (await self.session.execute(select(DATABASE_NOW))).scalar_one()
        return moment

    async def reached(self, file_id: UUID, reach: Reach) -> File | None:
        statement = select(File).where(File.id == file_id, *reach.within(File.owner_id, File.job_id))
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def of_job(self, job_id: UUID, limit: int, offset: int) -> tuple[Sequence[File], int]:
        """The job's files, oldest first, and how many there are."""
        mine = File.job_id == job_id
        page = select(File).where(mine).order_by(File.created_at, File.id).limit(limit).offset(offset)
        total = select(func.count()).select_from(File).where(mine)
        files = (await self.session.execute(page)).scalars().all()
        return files, (await self.session.execute(total)).scalar_one()

    async def ids_of_job(self, job_id: UUID) -> list[UUID]:
        return list((await self.session.execute(select(File.id).where(File.job_id == job_id))).scalars())
