"""Queries about presets, and about the jobs made of them."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import Select, delete, exists, or_, select, text
from sqlalchemy.orm import selectinload

from headrace.domain.accounts.reach import Reach
from headrace.domain.jobs.models import Job
from headrace.domain.paging import SortColumns, fetch_objects, sort_order, substring_pattern
from headrace.domain.presets.filters import PresetFilter
from headrace.domain.presets.models import Preset
from headrace.domain.tags.links import set_tags
from headrace.domain.tags.models import PRESET_TAGS, Tag

SORT_COLUMNS: Final[SortColumns] = {
    "created_at": Preset.created_at,
    "updated_at": Preset.updated_at,
    "title": Preset.title,
}

# Locked in the order of their ids, as in every statement that touches several jobs: see `lease_repository`.
_LET_GO: Final = text("""
WITH held AS (
    SELECT id FROM jobs WHERE preset_id = CAST(:preset_id AS uuid) ORDER BY id FOR NO KEY UPDATE
)
UPDATE jobs SET preset_id = NULL, updated_at = statement_timestamp() FROM held WHERE jobs.id = held.id
""")


class PresetRepository(SQLAlchemyAsyncRepository[Preset]):
    model_type = Preset

    async def reached(self, preset_id: UUID, reach: Reach, *, lock: bool = False) -> Preset | None:
        """A preset within reach, with its tags. While it is locked no job can be made of it."""
        statement = select(Preset).where(Preset.id == preset_id, *reach.within(Preset.owner_id))
        if lock:
            statement = statement.with_for_update(of=Preset)
        statement = statement.options(selectinload(Preset.tags)).execution_options(populate_existing=True)
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def page(self, reach: Reach, wanted: PresetFilter) -> tuple[Sequence[Preset], int]:
        """The wanted page, in a stable order, and how many match in all."""
        return await fetch_objects(
            self.session,
            _matching(reach, wanted),
            order=sort_order(SORT_COLUMNS, wanted.order_by, Preset.id),
            limit=wanted.limit,
            offset=wanted.offset,
            options=[selectinload(Preset.tags)],
        )

    async def set_tags(self, preset: Preset, names: Sequence[str]) -> None:
        """Give the preset exactly the tags *names*; those that are new are made."""
        await set_tags(self.session, PRESET_TAGS, preset.id, preset.owner_id, names)

    async def is_in_use(self, preset_id: UUID) -> bool:
        """Whether one of its jobs has not ended."""
        unfinished = select(exists().where(Job.preset_id == preset_id, Job.finished_at.is_(None)))
        return bool((await self.session.execute(unfinished)).scalar_one())

    async def remove_ended_jobs(self, preset_id: UUID) -> None:
        """Delete its jobs that have ended; the database drops their history, files and links."""
        await self.session.execute(
            delete(Job).where(Job.preset_id == preset_id, Job.finished_at.is_not(None))
        )

    async def let_go_of_jobs(self, preset_id: UUID) -> None:
        """Its jobs become jobs of no preset."""
        await self.session.execute(_LET_GO, {"preset_id": preset_id})

    async def forget(self, preset_id: UUID) -> None:
        """Delete the preset; the database drops its links."""
        await self.session.execute(delete(Preset).where(Preset.id == preset_id))


def _matching(reach: Reach, wanted: PresetFilter) -> Select[Any]:
    conditions = reach.within(Preset.owner_id)
    if wanted.pipeline is not None:
        conditions.append(Preset.pipeline == wanted.pipeline)
    if wanted.tag is not None:
        tagged = select(PRESET_TAGS.c.preset_id).join(Tag, Tag.id == PRESET_TAGS.c.tag_id)
        conditions.append(Preset.id.in_(tagged.where(Tag.name == wanted.tag, *reach.within(Tag.owner_id))))
    if wanted.search is not None:
        pattern = substring_pattern(wanted.search)
        columns = (Preset.title, Preset.description)
        conditions.append(or_(*(column.ilike(pattern, escape="\\") for column in columns)))
    return select(Preset).where(*conditions)
