"""Queries about tags."""

from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Select, delete, func, select

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.paging import ListPage, PageRequest, SortColumns, fetch_page, scope_of, sort_order
from headrace.domain.tags.models import JOB_TAGS, PRESET_TAGS, Tag

SORT_COLUMNS: Final[SortColumns] = {"name": Tag.name, "created_at": Tag.created_at}


class CountedTag(Struct, frozen=True):
    """A tag, and how many jobs and presets it marks."""

    tag: Tag
    jobs: int
    presets: int


class TagFilter(PageRequest, frozen=True, kw_only=True):
    """Which page of the tags within reach, in which order."""

    order_by: str = "name"


class TagRepository:
    """Queries about tags. Every query for a caller carries the caller's reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch_locked(self, tag_id: UUID, reach: Reach) -> Tag | None:
        """Fetch a tag within reach, locked against changes."""
        statement = select(Tag).where(Tag.id == tag_id, *reach.within(Tag.owner_id)).with_for_update()
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def fetch(self, tag_id: UUID, reach: Reach) -> CountedTag | None:
        """Fetch a tag within reach, with its counts."""
        row = (await self._session.execute(_counted(reach).where(Tag.id == tag_id))).one_or_none()
        return None if row is None else CountedTag(*row)

    async def fetch_page(self, reach: Reach, filters: TagFilter) -> ListPage[CountedTag]:
        """Fetch a page of the tags within reach, and count all of them."""
        page = await fetch_page(
            self._session,
            _counted(reach),
            order=sort_order(SORT_COLUMNS, filters.order_by, Tag.id),
            page=filters,
            scope=scope_of("tags", reach.owner_id, filters),
        )
        return page.show(lambda row: CountedTag(*row[:-1]))

    async def count(self, owner_id: UUID) -> int:
        """Count the owner's tags."""
        statement = select(func.count()).where(Tag.owner_id == owner_id)
        return int((await self._session.execute(statement)).scalar_one())

    async def delete(self, tag: Tag) -> None:
        """Delete a tag; the database deletes its links."""
        await self._session.execute(delete(Tag).where(Tag.id == tag.id))


def _counted(reach: Reach) -> Select[Any]:
    counts = [
        select(func.count()).where(links.c.tag_id == Tag.id).scalar_subquery().label(name)
        for name, links in (("jobs", JOB_TAGS), ("presets", PRESET_TAGS))
    ]
    return select(Tag, *counts).where(*reach.within(Tag.owner_id))
