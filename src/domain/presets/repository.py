"""Queries about presets, and about the jobs that were submitted from them."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, or_, select, text
from sqlalchemy.orm import selectinload

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.jobs.models import Job
from headrace.domain.paging import (
    ListPage,
    SortColumns,
    fetch_objects,
    scope_of,
    sort_order,
    substring_pattern,
)
from headrace.domain.presets.filters import PresetFilter
from headrace.domain.presets.models import Preset
from headrace.domain.tags.links import set_tags
from headrace.domain.tags.models import PRESET_TAGS, Tag

SORT_COLUMNS: Final[SortColumns] = {
    "created_at": Preset.created_at,
    "updated_at": Preset.updated_at,
    "title": Preset.title,
}

# Jobs are locked in the order of their ids, as in every statement that locks several: see `lease_repository`.
_DETACH_JOBS: Final = text("""
WITH held AS (
    SELECT id FROM jobs WHERE preset_id = CAST(:preset_id AS uuid) ORDER BY id FOR NO KEY UPDATE
)
UPDATE jobs SET preset_id = NULL, updated_at = statement_timestamp() FROM held WHERE jobs.id = held.id
""")


class PresetRepository:
    """Queries about presets. Every query for a caller carries the caller's reach."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, preset_id: UUID, reach: Reach, *, lock: bool = False) -> Preset | None:
        """Fetch a preset within reach, with its tags. While it is locked, no job can be submitted from it."""
        statement = select(Preset).where(Preset.id == preset_id, *reach.within(Preset.owner_id))
        if lock:
            statement = statement.with_for_update(of=Preset)
        statement = statement.options(selectinload(Preset.tags)).execution_options(populate_existing=True)
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def fetch_page(self, reach: Reach, filters: PresetFilter) -> ListPage[Preset]:
        """Fetch a page of the matching presets, and count all of them."""
        return await fetch_objects(
            self._session,
            _matching(reach, filters),
            order=sort_order(SORT_COLUMNS, filters.order_by, Preset.id),
            page=filters,
            scope=scope_of("presets", reach.owner_id, filters),
            large=[Preset.params],
            options=[selectinload(Preset.tags)],
        )

    async def set_tags(self, preset: Preset, names: Sequence[str]) -> None:
        """Replace the preset's tags with *names*, and create those that the owner lacks."""
        await set_tags(self._session, PRESET_TAGS, preset.id, preset.owner_id, names)

    async def count(self, owner_id: UUID) -> int:
        """Count the owner's presets."""
        statement = select(func.count()).where(Preset.owner_id == owner_id)
        return int((await self._session.execute(statement)).scalar_one())

    async def has_unfinished_jobs(self, preset: Preset) -> bool:
        """Whether a job of the preset has not ended."""
        unfinished = select(exists().where(Job.preset_id == preset.id, Job.finished_at.is_(None)))
        return bool((await self._session.execute(unfinished)).scalar_one())

    async def delete_finished_jobs(self, preset: Preset) -> None:
        """Delete the preset's jobs that have ended; the database deletes their history, files and links."""
        await self._session.execute(
            delete(Job).where(Job.preset_id == preset.id, Job.finished_at.is_not(None))
        )

    async def detach_jobs(self, preset: Preset) -> None:
        """Keep the preset's jobs as jobs without a preset."""
        await self._session.execute(_DETACH_JOBS, {"preset_id": preset.id})

    async def delete(self, preset: Preset) -> None:
        """Delete the preset; the database deletes its links to tags."""
        await self._session.execute(delete(Preset).where(Preset.id == preset.id))


def _matching(reach: Reach, filters: PresetFilter) -> Select[Any]:
    conditions = reach.within(Preset.owner_id)
    if filters.pipeline is not None:
        conditions.append(Preset.pipeline == filters.pipeline)
    if filters.tag is not None:
        tagged = select(PRESET_TAGS.c.preset_id).join(Tag, Tag.id == PRESET_TAGS.c.tag_id)
        conditions.append(Preset.id.in_(tagged.where(Tag.name == filters.tag, *reach.within(Tag.owner_id))))
    if filters.search is not None:
        pattern = substring_pattern(filters.search)
        columns = (Preset.title, Preset.description)
        conditions.append(or_(*(column.ilike(pattern, escape="\\") for column in columns)))
    return select(Preset).where(*conditions)
