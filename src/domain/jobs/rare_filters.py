"""Looks up the jobs that match a filter which few jobs match, through the index of that filter."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, case, func, select, text, union_all

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session
from headrace.domain.jobs.claim_rules import IS_SUSPECT_SQL, MAY_BE_CLAIMED_SQL
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.states import JobState
from headrace.domain.tags.models import JOB_TAGS, Tag

MAX_RARE: Final = 10_000
"""A filter is rare if at most so many jobs match it."""

# PostgreSQL proves that a partial index serves these only if the state is a literal.
_UNFINISHED: Final = {
    JobState.QUEUED: (text(MAY_BE_CLAIMED_SQL), text(f"state = 'queued' AND {IS_SUSPECT_SQL}")),
    JobState.RUNNING: (text("state = 'running'"),),
}


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
    """Yield for each filter that has an index a select of the ids of its jobs, of all users."""
    if filters.preset_id is not None:
        yield select(Job.id).where(Job.preset_id == filters.preset_id)
    if filters.tag is not None:
        tags = select(Tag.id).where(Tag.name == filters.tag, *reach.within(Tag.owner_id))
        yield select(JOB_TAGS.c.job_id.label("id")).where(JOB_TAGS.c.tag_id.in_(tags))
    if filters.states and filters.states <= _UNFINISHED.keys():
        conditions = [condition for state in filters.states for condition in _UNFINISHED[JobState(state)]]
        parts = [select(Job.id).where(condition).limit(MAX_RARE + 1).subquery() for condition in conditions]
        yield select(union_all(*(select(part.c.id) for part in parts)).subquery().c.id)
    if filters.pipeline is not None:
        yield select(Job.id).where(Job.pipeline == filters.pipeline)
