"""Queries about files."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import ColumnElement, delete, select, union_all

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.cursors import Order, at_or_behind, behind, decode_cursor, newest_first, order_on
from headrace.domain.files.models import File
from headrace.domain.paging import (
    ListPage,
    PageRequest,
    SortColumns,
    check_offset,
    fetch_objects,
    fetch_rows,
    page_of,
    scope_of,
    sort_order,
    substring_pattern,
)

MAX_LOOKED_FILES: Final = 50_000
_NEWEST_FIRST: Final = newest_first(File.created_at, File.id)

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
        order = sort_order(SORT_COLUMNS, filters.order_by, File.id)
        scope = scope_of("files", reach.owner_id, filters)
        is_tested = filters.search is not None or filters.order_by.removeprefix("-") != "created_at"
        if is_tested and (bounds := await self._window_bounds(conditions)) is not None:
            start, looked_back_to = bounds
            page = await self._fetch_from_window([*conditions, start], filters, order, scope)
            return replace(page, looked_back_to=looked_back_to)
        return await fetch_objects(
            self._session,
            select(File).where(*conditions, *_search(File.name, filters)),
            order=order,
            page=filters,
            scope=scope,
            large=[File.meta],
        )

    async def _window_bounds(
        self, conditions: Sequence[ColumnElement[bool]]
    ) -> tuple[ColumnElement[bool], datetime] | None:
        """Return where the window begins, and the time before which files are not in it; None if all are.

        It begins at its first file, since files that are uploaded meanwhile would move its end.
        """
        newest = select(File.created_at, File.id).where(*conditions)
        newest = newest.order_by(*(column.ordered for column in _NEWEST_FIRST))
        parts = newest.limit(1).subquery(), newest.offset(MAX_LOOKED_FILES).limit(1).subquery()
        bounds = union_all(*(select(part) for part in parts)).subquery()
        order = [column.ordered for column in order_on(bounds, _NEWEST_FIRST)]
        rows = (await self._session.execute(select(bounds).order_by(*order))).all()
        if len(rows) < 2:
            return None
        first, beyond = rows
        # Files of the same moment may be on both sides of the end.
        looked_back_to = beyond.created_at + timedelta(microseconds=1)
        return at_or_behind(_NEWEST_FIRST, [first.created_at, first.id]), looked_back_to

    async def _fetch_from_window(
        self, conditions: Sequence[ColumnElement[bool]], filters: FileFilter, order: Order, scope: str
    ) -> ListPage[File]:
        """Fetch a page of those of the newest files that match."""
        check_offset(filters.offset)
        newest = select(File.id, *SORT_COLUMNS.values()).where(*conditions)
        newest = newest.order_by(*(column.ordered for column in _NEWEST_FIRST))
        window = newest.limit(MAX_LOOKED_FILES).subquery()
        matching, window_order = select(window.c.id), order_on(window, order)
        matching = matching.where(*_search(window.c.name, filters))
        rows = matching
        if filters.after is not None:
            rows = rows.where(behind(window_order, decode_cursor(scope, filters.after, order)))
        rows = rows.order_by(*(column.ordered for column in window_order))
        rows = rows.limit(filters.limit + 1).offset(filters.offset)
        files, total = await fetch_rows(
            self._session,
            select(File)
            .where(File.id.in_(rows.subquery().select()))
            .order_by(*(column.ordered for column in order)),
            counted=matching,
            estimated=select(File).where(*conditions, *_search(File.name, filters)),
            is_whole=False,
            order=order,
            large=[File.meta],
        )
        return page_of([row[0] for row in files], total, order=order, limit=filters.limit, scope=scope)

    async def insert(self, file: File) -> None:
        """Insert a file, and read it back as PostgreSQL keeps it."""
        self._session.add(file)
        await self._session.flush()
        await self._session.refresh(file)

    async def delete(self, file: File) -> None:
        """Delete the row. A trigger records that the bytes must be removed."""
        await self._session.execute(delete(File).where(File.id == file.id))


def _search(name: Any, filters: FileFilter) -> list[ColumnElement[bool]]:
    if filters.search is None:
        return []
    return [name.ilike(substring_pattern(filters.search), escape="\\")]
