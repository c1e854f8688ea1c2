"""Queries about files."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from msgspec import Struct
from sqlalchemy import delete, func, select

from domain.accounts.reach import Reach
from domain.base import DATABASE_NOW
from domain.files.models import File
from domain.paging import Orders, containing, fetch_page, in_order

ORDERS: Final[Orders] = {"created_at": File.created_at, "name": File.name, "size": File.size}


class FileFilter(Struct, frozen=True, kw_only=True):
    """Which of the files within reach are wanted; None: all."""

    job_id: UUID | None = None
    search: str | None = None
    order_by: str = "-created_at"
    limit: int = 100
    offset: int = 0


class FileRepository(SQLAlchemyAsyncRepository[File]):
    model_type = File

    async def now(self) -> datetime:
        moment: datetime = (await self.session.execute(select(DATABASE_NOW))).scalar_one()
        return moment

    async def reached(self, file_id: UUID, reach: Reach, *, lock: bool = False) -> File | None:
        statement = select(File).where(File.id == file_id, *reach.within(File.owner_id, File.job_id))
        if lock:
            statement = statement.with_for_update(key_share=True)
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def of_job(self, job_id: UUID, limit: int, offset: int) -> tuple[Sequence[File], int]:
        """The job's files, oldest first, and how many there are."""
        mine = File.job_id == job_id
        page = select(File).where(mine).order_by(File.created_at, File.id).limit(limit).offset(offset)
        total = select(func.count()).select_from(File).where(mine)
        files = (await self.session.execute(page)).scalars().all()
        return files, (await self.session.execute(total)).scalar_one()

    async def page(self, reach: Reach, wanted: FileFilter) -> tuple[Sequence[File], int]:
        """The wanted page, in a stable order, and how many match in all."""
        conditions = reach.within(File.owner_id, File.job_id)
        if wanted.job_id is not None:
            conditions.append(File.job_id == wanted.job_id)
        if wanted.search is not None:
            conditions.append(File.name.ilike(containing(wanted.search), escape="\\"))
        rows, total = await fetch_page(
            self.session,
            select(File).where(*conditions),
            order=in_order(ORDERS, wanted.order_by, File.id),
            limit=wanted.limit,
            offset=wanted.offset,
        )
        return [row[0] for row in rows], total

    async def forget(self, file_id: UUID) -> None:
        """Delete the row; the database notes that the bytes are to go."""
        await self.session.execute(delete(File).where(File.id == file_id))
