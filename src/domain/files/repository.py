"""Queries about files."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from msgspec import Struct
from sqlalchemy import delete, select

from headrace.domain.accounts.reach import Reach
from headrace.domain.files.models import File
from headrace.domain.paging import SortColumns, fetch_objects, sort_order, substring_pattern

SORT_COLUMNS: Final[SortColumns] = {"created_at": File.created_at, "name": File.name, "size": File.size}


class FileFilter(Struct, frozen=True, kw_only=True):
    """Which of the files within reach are wanted; None: all."""

    job_id: UUID | None = None
    search: str | None = None
    order_by: str = "-created_at"
    limit: int = 100
    offset: int = 0


class FileRepository(SQLAlchemyAsyncRepository[File]):
    model_type = File

    async def reached(self, file_id: UUID, reach: Reach, *, lock: bool = False) -> File | None:
        statement = select(File).where(File.id == file_id, *reach.within(File.owner_id, File.job_id))
        if lock:
            statement = statement.with_for_update(key_share=True)
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def of_job(self, job_id: UUID, limit: int, offset: int) -> tuple[Sequence[File], int]:
        """The job's files, oldest first, and how many there are."""
        mine = select(File).where(File.job_id == job_id)
        order = sort_order(SORT_COLUMNS, "created_at", File.id)
        return await fetch_objects(self.session, mine, order=order, limit=limit, offset=offset)

    async def page(self, reach: Reach, wanted: FileFilter) -> tuple[Sequence[File], int]:
        """The wanted page, in a stable order, and how many match in all."""
        conditions = reach.within(File.owner_id, File.job_id)
        if wanted.job_id is not None:
            conditions.append(File.job_id == wanted.job_id)
        if wanted.search is not None:
            conditions.append(File.name.ilike(substring_pattern(wanted.search), escape="\\"))
        return await fetch_objects(
            self.session,
            select(File).where(*conditions),
            order=sort_order(SORT_COLUMNS, wanted.order_by, File.id),
            limit=wanted.limit,
            offset=wanted.offset,
        )

    async def forget(self, file_id: UUID) -> None:
        """Delete the row; the database notes that the bytes are to go."""
        await self.session.execute(delete(File).where(File.id == file_id))
