"""Looks up the jobs that match a filter which few jobs match, through the index of that filter."""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, literal_column, select, text, true, union_all
from sqlalchemy.orm import InstrumentedAttribute

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.jobs.claim_rules import IS_SUSPECT_SQL, MAY_BE_CLAIMED_SQL
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.states import FINAL_STATES, JobState
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.tags.models import JOB_TAGS, Tag

MAX_RARE: Final = 10_000
"""A filter is rare if at most so many jobs match it."""

# PostgreSQL proves that a partial index serves these only if the state is a literal.
_UNFINISHED: Final = {
    JobState.QUEUED: (text(MAY_BE_CLAIMED_SQL), text(f"state = 'queued' AND {IS_SUSPECT_SQL}")),
    JobState.RUNNING: (text("state = 'running'"),),
}
_INDEXED: Final = _UNFINISHED.keys() | FINAL_STATES


async def look_up(session: Session, reach: Reach, filters: JobFilter) -> Sequence[UUID] | None:
    """Return the jobs that match one of the filters, if these are few; None: none of the filters is rare.

    There may be other jobs among them: the list tests them for all its filters.
    """
    for candidates in _candidates(reach, filters):
        ids = await _fetch_few(session, candidates)
        if ids is not None:
            return ids
    has_final = filters.states <= _INDEXED and not filters.states.isdisjoint(FINAL_STATES)
    if has_final and await _have_few_ended(session, filters):
        return await _fetch_few(session, _union(_in_states(filters)))
    return None


async def _fetch_few(session: Session, candidates: Select[Any]) -> Sequence[UUID] | None:
    """Return the ids that *candidates* selects; None if there are many."""
    rows = candidates.limit(MAX_RARE + 1).subquery()
    ids = case((func.count() <= MAX_RARE, func.array_agg(rows.c.id)))
    count, found = (await session.execute(select(func.count(), ids).select_from(rows))).one()
    return tuple(found or ()) if count <= MAX_RARE else None


async def _have_few_ended(session: Session, filters: JobFilter) -> bool:
    """Whether few jobs have ended in the states of the filter: counted in the index, without the table."""
    states = _states(filters) & FINAL_STATES
    ended = _union(_ended(state, filters.pipeline, Job.finished_at) for state in sorted(states))
    rows = ended.limit(MAX_RARE + 1).subquery()
    count = (await session.execute(select(func.count()).select_from(rows))).scalar_one()
    return bool(count <= MAX_RARE)


def _candidates(reach: Reach, filters: JobFilter) -> Iterator[Select[Any]]:
    """Yield for each filter that has an index a select of the ids of its jobs, of all users."""
    if filters.preset_id is not None:
        yield select(Job.id).where(Job.preset_id == filters.preset_id)
    if filters.tag is not None:
        tags = select(Tag.id).where(Tag.name == filters.tag, *reach.within(Tag.owner_id))
        yield select(JOB_TAGS.c.job_id.label("id")).where(JOB_TAGS.c.tag_id.in_(tags))
    if filters.states and filters.states <= _UNFINISHED.keys():
        yield _union(_in_states(filters))
    if filters.pipeline is not None:
        yield select(Job.id).where(Job.pipeline == filters.pipeline)


def _states(filters: JobFilter) -> Set[JobState]:
    return {JobState(state) for state in filters.states}


def _union(parts: Iterable[Select[Any]]) -> Select[Any]:
    """Select the only column of *parts*, each of which has a limit of its own."""
    return select(union_all(*(select(part.subquery()) for part in parts)).subquery())


def _in_states(filters: JobFilter) -> Iterator[Select[Any]]:
    """Yield selects of the ids of all jobs in the states of the filter."""
    states = _states(filters)
    for state in sorted(states):
        for condition in _UNFINISHED.get(state, ()):
            yield select(Job.id).where(condition).limit(MAX_RARE + 1)
        if state.is_final:
            yield _ended(state, filters.pipeline, Job.id)
    if states & FINAL_STATES:
        # Pinned jobs have an index of their own, which does not tell their states apart.
        yield select(Job.id).where(Job.keep).limit(MAX_RARE + 1)


def _ended(state: JobState, pipeline: str | None, column: InstrumentedAttribute[Any]) -> Select[Any]:
    """Select a *column* of the jobs that have ended in *state* and are not pinned, by the pruner's index."""
    versions = select(PipelineVersion.name, PipelineVersion.version)
    if pipeline is not None:
        versions = versions.where(PipelineVersion.name == pipeline)
    version = versions.subquery()
    # PostgreSQL plans a statement that it has run five times without its parameters. Without the state and
    # the limit, it would take another index and read most of the table.
    limit: ColumnElement[int] = literal_column(str(MAX_RARE + 1))
    job = (
        select(column)
        .where(Job.pipeline == version.c.name, Job.version == version.c.version)
        .where(Job.state == literal_column(f"'{state}'"), Job.finished_at.is_not(None), ~Job.keep)
        .limit(limit)
        .lateral()
    )
    return select(job).select_from(version.join(job, true())).limit(limit)
