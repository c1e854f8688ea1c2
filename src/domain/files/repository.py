"""Queries about files."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec.structs import replace
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

MAX_LOOKED_FILES: Final = 50_000
_MICROSECOND: Final = timedelta(microseconds=1)

SORT_COLUMNS: Final[SortColumns] = {"created_at": File.created_at, "name": File.name, "size": File.size}


class FileFilter(PageRequest, frozen=True, kw_only=True):
    """Which files within reach to list, and which page of them. None: no condition."""

    job_id: UUID | None = None
    search: str | None = None
    created_before: datetime | None = None
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
        """Fetch a page of the matching files, and count all of them.

        A search, or an order that has no index, looks at the newest `MAX_LOOKED_FILES` only.
        """
        conditions = reach.within(File.owner_id, File.job_id)
        if filters.job_id is not None:
            conditions.append(File.job_id == filters.job_id)
        if filters.created_before is not None:
            conditions.append(File.created_at < filters.created_before)
        files, looked_back_to = select(File).where(*conditions), None
        if filters.search is not None or filters.order_by.removeprefix("-") != "created_at":
            newest = select(File.id, File.created_at).where(*conditions)
            newest = newest.order_by(File.created_at.desc(), File.id.desc())
            beyond = (await self._session.execute(newest.offset(MAX_LOOKED_FILES).limit(1))).first()
            if beyond is not None:
                looked_back_to = beyond.created_at + _MICROSECOND
                window = newest.with_only_columns(File.id).limit(MAX_LOOKED_FILES).subquery()
                files = select(File).where(File.id.in_(window.select()))
        if filters.search is not None:
            files = files.where(File.name.ilike(substring_pattern(filters.search), escape="\\"))
        page = await fetch_objects(
            self._session,
            files,
            order=sort_order(SORT_COLUMNS, filters.order_by, File.id),
            page=filters,
            scope=scope_of("files", reach.owner_id, filters),
            large=[File.meta],
        )
        is_estimate = page.total_is_estimate or looked_back_to is not None
        return replace(page, total_is_estimate=is_estimate, looked_back_to=looked_back_to)

    async def insert(self, file: File) -> None:
        """Insert a file, and read it back as PostgreSQL keeps it."""
        self._session.add(file)
        await self._session.flush()
        await self._session.refresh(file)

    async def delete(self, file: File) -> None:
        """Delete the row. A trigger records that the bytes must be removed."""
        await self._session.execute(delete(File).where(File.id == file.id))
