"""Looks up the jobs that match a filter which few jobs match, through the index of that filter."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, case, func, select, text, true, union_all

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
    """Return the jobs that match one of the filters, if these are few; None: none of the filters is rare."""
    for candidates in _candidates(reach, filters):
        rows = candidates.limit(MAX_RARE + 1).subquery()
        ids = case((func.count() <= MAX_RARE, func.array_agg(rows.c.id)))
        count, found = (await session.execute(select(func.count(), ids).select_from(rows))).one()
        if count <= MAX_RARE:
            return tuple(found or ())
    return None


def _candidates(reach: Reach, filters: JobFilter) -> Iterator[Select[Any]]:
    """Yield for each filter that has an index a select of the ids of its jobs, of all users.

    A select may have other jobs as well: the list tests the jobs that were looked up for all its filters.
    """
    if filters.preset_id is not None:
        yield select(Job.id).where(Job.preset_id == filters.preset_id)
    if filters.tag is not None:
        tags = select(Tag.id).where(Tag.name == filters.tag, *reach.within(Tag.owner_id))
        yield select(JOB_TAGS.c.job_id.label("id")).where(JOB_TAGS.c.tag_id.in_(tags))
    if filters.states and filters.states <= _INDEXED:
        parts = [part.subquery() for part in _in_states(filters)]
        yield select(union_all(*(select(part.c.id) for part in parts)).subquery().c.id)
    if filters.pipeline is not None:
        yield select(Job.id).where(Job.pipeline == filters.pipeline)


def _in_states(filters: JobFilter) -> Iterator[Select[Any]]:
    """Yield selects of the ids of all jobs in the states of the filter, each limited."""
    states = [JobState(state) for state in sorted(filters.states)]
    for state in states:
        for condition in _UNFINISHED.get(state, ()):
            yield select(Job.id).where(condition).limit(MAX_RARE + 1)
        if state.is_final:
            yield _ended(state, filters.pipeline)
    if any(state.is_final for state in states):
        # Pinned jobs have an index of their own, which does not tell their states apart.
        yield select(Job.id).where(Job.keep).order_by(Job.finished_at).limit(MAX_RARE + 1)


def _ended(state: JobState, pipeline: str | None) -> Select[Any]:
    """Select the ids of the jobs that have ended in *state* and are not pinned, from the pruner's index."""
    versions = select(PipelineVersion.name, PipelineVersion.version)
    if pipeline is not None:
        versions = versions.where(PipelineVersion.name == pipeline)
    version = versions.subquery()
    job = (
        select(Job.id)
        .where(Job.pipeline == version.c.name, Job.version == version.c.version, Job.state == state)
        .where(Job.finished_at.is_not(None), ~Job.keep)
        .order_by(Job.finished_at)
        .limit(MAX_RARE + 1)
        .lateral()
    )
    return select(job.c.id).select_from(version.join(job, true())).limit(MAX_RARE + 1)
