"""Queries of nested reads: each fetches the parts of many objects at once, within the caller's reach."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ScalarSelect, Select, Table, func, or_, select, text, tuple_
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from headrace.domain.accounts.models import User
from headrace.domain.accounts.reach import Reach
from headrace.domain.files.models import File
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.repository import matching_jobs
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.repository import select_newest
from headrace.domain.presets.models import Preset
from headrace.domain.read_model.results import NamedTag, OwnedJob, OwnedPreset, Owner
from headrace.domain.tags.models import JOB_TAGS, PRESET_TAGS, Tag


def _tags(links: Table, marked: Any, link_column: Any) -> ScalarSelect[Any]:
    """Select the tags of a row as JSON, by name: one more column instead of another statement."""
    tag = func.jsonb_build_object("id", Tag.id, "name", Tag.name)
    return (
        select(func.coalesce(func.jsonb_agg(aggregate_order_by(tag, Tag.name)), text("'[]'"), type_=JSONB))
        .select_from(links)
        .join(Tag, Tag.id == links.c.tag_id)
        .where(link_column == marked)
        .scalar_subquery()
    )


_JOB_TAGS: Final = _tags(JOB_TAGS, Job.id, JOB_TAGS.c.job_id)
_PRESET_TAGS: Final = _tags(PRESET_TAGS, Preset.id, PRESET_TAGS.c.preset_id)


class ReadRepository:
    """Reads for one caller. Every method is one statement."""

    def __init__(self, session: AsyncSession, reach: Reach) -> None:
        self.session = session
        self._reach = reach

    async def fetch_jobs(self, filters: JobFilter) -> list[OwnedJob]:
        """Fetch a page of the matching jobs, newest first."""
        newest = matching_jobs(self._reach, filters).order_by(Job.created_at.desc(), Job.id.desc())
        return await self._fetch_owned(newest.limit(filters.limit).offset(filters.offset))

    async def fetch_jobs_by_id(self, job_ids: Sequence[UUID]) -> list[OwnedJob]:
        """Fetch those of the jobs that exist."""
        return await self._fetch_owned(
            select(Job).where(Job.id.in_(job_ids), *self._reach.within(Job.owner_id, Job.id))
        )

    async def fetch_step_runs(self, job_ids: Sequence[UUID], first: int) -> Sequence[StepRun]:
        """Fetch the step runs of those jobs; of a `for_each` step only those of its *first* items."""
        statement = select(StepRun).where(
            StepRun.job_id.in_(job_ids), or_(StepRun.index.is_(None), StepRun.index < first)
        )
        return (await self.session.execute(statement)).scalars().all()

    async def fetch_files(self, job_ids: Sequence[UUID], first: int) -> Sequence[File]:
        """Fetch the *first* files of each of those jobs, oldest first."""
        oldest = (File.created_at, File.id)
        position = func.row_number().over(partition_by=File.job_id, order_by=oldest)
        numbered = (
            select(File.id, position.label("position"))
            .where(File.job_id.in_(job_ids), *self._reach.within(File.owner_id, File.job_id))
            .subquery()
        )
        statement = select(File).join(numbered, numbered.c.id == File.id).where(numbered.c.position <= first)
        return (await self.session.execute(statement.order_by(*oldest))).scalars().all()

    async def fetch_pipelines(
        self, versions: Sequence[tuple[str, int]], newest_of: Sequence[str]
    ) -> Sequence[PipelineVersion]:
        """Fetch those versions of pipelines, and the newest version of each pipeline in *newest_of*."""
        name, version = PipelineVersion.name, PipelineVersion.version
        newest = select_newest().where(name.in_(newest_of)).with_only_columns(PipelineVersion.id)
        statement = select(PipelineVersion).where(
            or_(tuple_(name, version).in_(versions), PipelineVersion.id.in_(newest))
        )
        return (await self.session.execute(statement)).scalars().all()

    async def fetch_newest_pipelines(self, limit: int, offset: int) -> Sequence[PipelineVersion]:
        """Fetch a page of the newest versions of all pipelines, in the order of their names."""
        statement = select_newest().limit(limit).offset(offset)
        return (await self.session.execute(statement)).scalars().all()

    async def fetch_presets(self, limit: int, offset: int) -> list[OwnedPreset]:
        """Fetch a page of presets, in the order of their titles."""
        statement = (
            select(Preset, User.username, _PRESET_TAGS)
            .join(User, User.id == Preset.owner_id)
            .where(*self._reach.within(Preset.owner_id))
            .order_by(Preset.title, Preset.id)
            .limit(limit)
            .offset(offset)
        )
        return [
            OwnedPreset(preset, Owner(preset.owner_id, username), msgspec.convert(tags, list[NamedTag]))
            for preset, username, tags in await self.session.execute(statement)
        ]

    async def fetch_tags(self, limit: int, offset: int) -> list[NamedTag]:
        """Fetch a page of tags, in the order of their names."""
        statement = select(Tag.id, Tag.name).where(*self._reach.within(Tag.owner_id))
        page = statement.order_by(Tag.name, Tag.id).limit(limit).offset(offset)
        return [NamedTag(tag_id, name) for tag_id, name in await self.session.execute(page)]

    async def _fetch_owned(self, statement: Select[tuple[Job]]) -> list[OwnedJob]:
        rows = await self.session.execute(
            statement.join(User, User.id == Job.owner_id).add_columns(User.username, _JOB_TAGS)
        )
        return [
            OwnedJob(job, Owner(job.owner_id, username), msgspec.convert(tags, list[NamedTag]))
            for job, username, tags in rows
        ]
