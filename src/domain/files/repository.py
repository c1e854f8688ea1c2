"""Queries about files."""

from typing import Final
from uuid import UUID

from sqlalchemy import delete, select

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.files.models import File
from headrace.domain.paging import (
    ListPage,
    PageRequest,
    SortColumns,
    fetch_objects,
    scope_of,
    sort_order,
    substring_pattern,
)

SORT_COLUMNS: Final[SortColumns] = {"created_at": File.created_at, "name": File.name, "size": File.size}


class FileFilter(PageRequest, frozen=True, kw_only=True):
    """Which files within reach to list, and which page of them. None: no condition."""

    job_id: UUID | None = None
    search: str | None = None
    order_by: str = "-created_at"


class FileRepository:
    """Queries about files. Every query for a caller carries the caller's reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, file_id: UUID, reach: Reach, *, lock: bool = False) -> File | None:
        """Fetch a file within reach, locked against changes if *lock*."""
        statement = select(File).where(File.id == file_id, *reach.within(File.owner_id, File.job_id))
        if lock:
            statement = statement.with_for_update(key_share=True)
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def fetch_page(self, reach: Reach, filters: FileFilter) -> ListPage[File]:
        """Fetch a page of the matching files, and count all of them."""
        conditions = reach.within(File.owner_id, File.job_id)
        if filters.job_id is not None:
            conditions.append(File.job_id == filters.job_id)
        if filters.search is not None:
            conditions.append(File.name.ilike(substring_pattern(filters.search), escape="\\"))
        return await fetch_objects(
            self._session,
            select(File).where(*conditions),
            order=sort_order(SORT_COLUMNS, filters.order_by, File.id),
            page=filters,
            scope=scope_of("files", reach.owner_id, filters),
            large=[File.meta],
        )

    async def insert(self, file: File) -> None:
        """Insert a file, and read it back as PostgreSQL keeps it."""
        self._session.add(file)
        await self._session.flush()
        await self._session.refresh(file)

    async def delete(self, file: File) -> None:
        """Delete the row. A trigger records that the bytes must be removed."""
        await self._session.execute(delete(File).where(File.id == file.id))
