"""Queries of nested reads: each fetches the parts of many objects at once, within the caller's reach."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, Table, cast, func, or_, select, text, tuple_
from sqlalchemy.dialects.postgresql import JSON, JSONB, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from headrace.domain.accounts.models import User
from headrace.domain.accounts.reach import Reach
from headrace.domain.files.models import File
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.job_lists import JobLists
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.results import RESULT, RESULT_BYTES
from headrace.domain.paging import check_offset, json_size
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.repository import PipelineRepository, select_newest
from headrace.domain.presets.models import Preset
from headrace.domain.read_model.json_room import JsonRoom
from headrace.domain.read_model.results import (
    FileRow,
    NamedTag,
    OwnedJob,
    OwnedJobs,
    OwnedPreset,
    Owner,
    Schemas,
)
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
_JOB_VALUES: Final[dict[str, Any]] = {"params": Job.params, "meta": Job.meta, "result": RESULT}
_JOB_SIZES: Final = {
    "params": json_size(Job.params),
    "meta": json_size(Job.meta),
    "result": RESULT_BYTES,
}
_STEP_COLUMNS: Final = [column for column in StepRun.__table__.c if column.name not in ("items", "output")]
# Building the objects of so many rows takes a few milliseconds.
_ROWS_IN_TURN: Final = 200


class ReadRepository:
    """Reads for one caller. Every method is one statement, but `fetch_jobs` may take up to five.

    A JSON value is read if the query selects it and the answer has room for it; without room it is `OMITTED`.
    """

    def __init__(self, session: AsyncSession, reach: Reach) -> None:
        self.session = session
        self._reach = reach
        self._room = JsonRoom()

    async def fetch_jobs(self, filters: JobFilter, values: Iterable[str] = ()) -> OwnedJobs:
        """Fetch a page of the matching jobs with those *values*, newest first.

        Raises:
            OffsetTooLargeError: the page is too far from the beginning of the list.
        """
        check_offset(filters.offset)
        lists = await JobLists.of(self.session, self._reach, filters)
        selection = await lists.select(None)
        order = [column.ordered for column in lists.order]
        page = select(Job).where(Job.id.in_(selection.ids.limit(filters.limit).subquery().select()))
        jobs = await self._fetch_owned(page.order_by(*order), sorted(values), order)
        return OwnedJobs(jobs, None if len(jobs) == filters.limit else selection.looked_back_to)

    async def fetch_jobs_by_id(self, job_ids: Sequence[UUID], values: Iterable[str] = ()) -> list[OwnedJob]:
        """Fetch those of the jobs that exist, with those *values*."""
        those = select(Job).where(Job.id.in_(job_ids), *self._reach.within(Job.owner_id, Job.id))
        return await self._fetch_owned(those, sorted(values), [Job.id.desc()])

    async def fetch_step_runs(
        self, job_ids: Sequence[UUID], first: int, *, with_output: bool = False
    ) -> list[StepRun]:
        """Fetch the step runs of those jobs; of a `for_each` step only those of its *first* items.

        Items are None, as many as there are.
        """
        order = StepRun.job_id.desc(), StepRun.key
        outputs = self._room.columns([StepRun.output] if with_output else [], order)
        statement = select(*_STEP_COLUMNS, func.json_array_length(StepRun.items), *outputs).where(
            StepRun.job_id.in_(job_ids), or_(StepRun.index.is_(None), StepRun.index < first)
        )
        names = [column.name for column in _STEP_COLUMNS]
        runs = []
        async for row in self._stream(statement.order_by(*order)):
            items, *output = row[len(names) :]
            run = StepRun(**dict(zip(names, row[: len(names)], strict=True)))
            run.items = None if items is None else [None] * items
            (run.output,) = self._room.take(output) if with_output else (None,)
            runs.append(run)
        return runs

    async def fetch_files(
        self, job_ids: Sequence[UUID], first: int, *, with_meta: bool = False
    ) -> list[FileRow]:
        """Fetch the *first* files of each of those jobs, oldest first."""
        oldest = (File.created_at, File.id)
        position = func.row_number().over(partition_by=File.job_id, order_by=oldest)
        numbered = (
            select(File.id, position.label("position"))
            .where(File.job_id.in_(job_ids), *self._reach.within(File.owner_id, File.job_id))
            .subquery()
        )
        statement = (
            select(File, *self._room.columns([File.meta] if with_meta else [], oldest))
            .join(numbered, numbered.c.id == File.id)
            .where(numbered.c.position <= first)
            .options(defer(File.meta))
        )
        return [
            FileRow(file, *self._room.take(meta))
            async for file, *meta in self._stream(statement.order_by(*oldest))
        ]

    async def fetch_pipelines(
        self, versions: Sequence[tuple[str, int]], newest_of: Sequence[str]
    ) -> Sequence[PipelineVersion]:
        """Fetch those versions of pipelines, and the newest version of each pipeline in *newest_of*."""
        name, version = PipelineVersion.name, PipelineVersion.version
        newest = select_newest().where(name.in_(newest_of)).with_only_columns(PipelineVersion.id)
        statement = select(PipelineVersion).where(
            or_(tuple_(name, version).in_(versions), PipelineVersion.id.in_(newest))
        )
        return (await self.session.execute(_without_schemas(statement))).scalars().all()

    async def fetch_newest_pipelines(self, limit: int, offset: int) -> Sequence[PipelineVersion]:
        """Fetch a page of the newest versions of all pipelines, in the order of their names."""
        check_offset(offset)
        statement = _without_schemas(select_newest().limit(limit).offset(offset))
        return (await self.session.execute(statement)).scalars().all()

    async def fetch_pipeline_names(self) -> Sequence[str]:
        """Fetch the names of pipelines to compare a misspelt one with."""
        return await PipelineRepository(self.session).fetch_names()

    async def fetch_schemas(self, pipeline_ids: Sequence[UUID]) -> dict[UUID, Schemas]:
        """Fetch the schemas of those pipelines, by id."""
        columns = PipelineVersion.params_schema, PipelineVersion.result_schema
        statement = select(PipelineVersion.id, *(cast(column, JSON) for column in columns))
        rows = await self.session.execute(statement.where(PipelineVersion.id.in_(pipeline_ids)))
        return {pipeline_id: Schemas(params, result) for pipeline_id, params, result in rows}

    async def fetch_presets(self, limit: int, offset: int, *, with_params: bool = False) -> list[OwnedPreset]:
        """Fetch a page of presets, in the order of their titles."""
        check_offset(offset)
        order = Preset.title, Preset.id
        page = select(Preset.id).where(*self._reach.within(Preset.owner_id)).order_by(*order)
        statement = (
            select(Preset, User.username, _PRESET_TAGS)
            .join(User, User.id == Preset.owner_id)
            .where(Preset.id.in_(page.limit(limit).offset(offset).subquery().select()))
            .add_columns(*self._room.columns([Preset.params] if with_params else [], order))
            .options(defer(Preset.params))
            .order_by(*order)
        )
        return [
            OwnedPreset(preset, Owner(preset.owner_id, username), _named_tags(tags), *self._room.take(params))
            for preset, username, tags, *params in await self.session.execute(statement)
        ]

    async def fetch_tags(self, limit: int, offset: int) -> list[NamedTag]:
        """Fetch a page of tags, in the order of their names."""
        check_offset(offset)
        statement = select(Tag.id, Tag.name).where(*self._reach.within(Tag.owner_id))
        page = statement.order_by(Tag.name, Tag.id).limit(limit).offset(offset)
        return [NamedTag(tag_id, name) for tag_id, name in await self.session.execute(page)]

    async def _fetch_owned(
        self, statement: Select[tuple[Job]], names: Sequence[str], order: Sequence[ColumnElement[Any]]
    ) -> list[OwnedJob]:
        values = self._room.columns(
            [_JOB_VALUES[name] for name in names], order, [_JOB_SIZES[name] for name in names]
        )
        rows = await self.session.execute(
            statement.join(User, User.id == Job.owner_id)
            .add_columns(User.username, _JOB_TAGS, *values)
            .options(defer(Job.params), defer(Job.meta), defer(Job.result))
            .order_by(None)
            .order_by(*order)
        )
        return [
            OwnedJob(
                job,
                Owner(job.owner_id, username),
                _named_tags(tags),
                dict(zip(names, self._room.take(columns), strict=True)),
            )
            for job, username, tags, *columns in rows
        ]

    async def _stream(self, statement: Select[Any]) -> AsyncIterator[Row[Any]]:
        """Yield the rows of a statement that may have thousands, and let others work in between."""
        result = await self.session.stream(statement.execution_options(yield_per=_ROWS_IN_TURN))
        async for rows in result.partitions():
            for row in rows:
                yield row


def _without_schemas(statement: Select[tuple[PipelineVersion]]) -> Select[tuple[PipelineVersion]]:
    columns = PipelineVersion.params_schema, PipelineVersion.result_schema, PipelineVersion.types
    return statement.options(*map(defer, columns))


def _named_tags(tags: Any) -> list[NamedTag]:
    return msgspec.convert(tags, list[NamedTag])
