"""The queries behind an overview of one owner's jobs: the newest, and the changes since the last poll."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database, Row
from headrace.domain.events.news import JobSummary
from headrace.domain.jobs.job_lists import MAX_LOOKED_JOBS
from headrace.domain.jobs.overview.overview import OverviewFilter
from headrace.domain.jobs.state_merge import NEWEST_FIRST, newest_in_states_sql

# A filter without an index is applied to so many of the newest jobs, and not to millions.
_NEWEST: Final = f"""
SELECT id, event_seq, state, progress, pipeline FROM (
    SELECT id, event_seq, state, progress, pipeline, created_at FROM {{jobs}}
    {NEWEST_FIRST} LIMIT {{looked}}
) newest WHERE true{{conditions}} {NEWEST_FIRST} LIMIT $2
"""  # noqa: S608  (fragments of this code base)

_CONDITIONS: Final = {
    "pipeline": " AND pipeline = ${}",
    # The LIMIT keeps PostgreSQL from collecting all jobs of the tag.
    "tag": " AND (SELECT true FROM job_tags l JOIN tags t ON t.id = l.tag_id"
    " WHERE l.job_id = newest.id AND t.owner_id = $1 AND t.name = ${} LIMIT 1)",
}

_TAGGED: Final = """
SELECT l.job_id FROM tags t JOIN job_tags l ON l.tag_id = t.id
WHERE t.owner_id = $1 AND t.name = $2 AND l.job_id = ANY($3::uuid[])
"""

# There is no index on updated_at: with it, every log line of a running job would update all indexes of the
# row. Jobs that changed are running, queued again, new or finished. A row may become visible long after the
# time that its statement wrote: 30 s is more than a statement may take (20 s) and a transaction may idle (5
# s). Rows that the last poll could see are left out: their xmin, widened to 64 bits, is visible in its
# snapshot. Savepoints break that: their rows have numbers of their own. Other programs submit jobs beyond
# savepoints and in transactions of any length, so the numbers of their transactions are in a table. Running
# jobs are always read: progress is stored without an event.
_CHANGED: Final = """
WITH clock AS (
    SELECT statement_timestamp() AS at, pg_current_snapshot()::text AS seen,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest
), candidates AS (
    (SELECT id, event_seq, state, progress, pipeline, NULL::xid AS writer
     FROM jobs WHERE owner_id = $1 AND state = 'running' ORDER BY created_at DESC, id DESC LIMIT $5)
    UNION ALL
    (SELECT id, event_seq, state, progress, pipeline, xmin
     FROM jobs WHERE owner_id = $1 AND state = 'queued' AND attempt > 0)
    UNION ALL
    (SELECT id, event_seq, state, progress, pipeline, xmin
     FROM jobs WHERE owner_id = $1 AND state = 'queued' AND attempt = 0
       AND created_at >= coalesce($2, statement_timestamp()) - interval '30 seconds'
     ORDER BY created_at DESC LIMIT $6)
    UNION ALL
    (SELECT id, event_seq, state, progress, pipeline, xmin
     FROM jobs WHERE owner_id = $1
       AND finished_at >= coalesce($2, statement_timestamp()) - interval '30 seconds'
     ORDER BY finished_at DESC LIMIT $6)
    UNION ALL
    (SELECT j.id, j.event_seq, j.state, j.progress, j.pipeline, NULL
     FROM transactional_submissions s CROSS JOIN LATERAL unnest(s.job_ids) AS submitted(job_id)
     JOIN jobs j ON j.id = submitted.job_id
     WHERE s.owner_id = $1 AND j.state = 'queued' AND j.attempt = 0
       AND s.transaction_id >= pg_snapshot_xmin($3::text::pg_snapshot)::text::bigint
       AND NOT pg_visible_in_snapshot(s.transaction_id::text::xid8, $3::text::pg_snapshot)
     LIMIT $6)
), changed AS (
    SELECT id, event_seq, state, progress, pipeline FROM candidates CROSS JOIN clock
    WHERE writer IS NULL OR $3::text IS NULL OR NOT pg_visible_in_snapshot(
        (newest - ((newest - writer::text::bigint) & 4294967295))::text::xid8, $3::text::pg_snapshot)
    LIMIT $6
), gone AS (
    SELECT k.id FROM unnest($4::uuid[]) AS k(id) WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = k.id)
)
SELECT at, seen, NULL::uuid AS id, NULL AS state, NULL::int AS event_seq, NULL::float8 AS progress,
       NULL AS pipeline FROM clock
UNION ALL SELECT NULL, NULL, id, state, event_seq, progress, pipeline FROM changed
UNION ALL SELECT NULL, NULL, id, NULL, NULL, NULL, NULL FROM gone
"""


class ChangePoll(Struct, frozen=True, kw_only=True):
    """The changes that one poll found. *seen* is its snapshot; *is_cut*: there were more changes."""

    at: datetime
    seen: str
    changed: Sequence[JobSummary]
    gone: Sequence[UUID]
    is_cut: bool


class OverviewRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_newest(self, owner_id: UUID, filters: OverviewFilter, limit: int) -> list[JobSummary]:
        """Return the newest jobs that match, newest first."""
        arguments: list[object] = [owner_id, limit]
        conditions = ""
        for name, condition in _CONDITIONS.items():
            if (value := getattr(filters, name)) is not None:
                arguments.append(str(value))
                conditions += condition.format(len(arguments))
        states = [] if filters.state is None else [filters.state]
        jobs = newest_in_states_sql(states, "owner_id = $1", str(MAX_LOOKED_JOBS))
        statement = _NEWEST.format(jobs=jobs, looked=MAX_LOOKED_JOBS, conditions=conditions)
        rows = await self._database.fetch(statement, *arguments)
        return [_summary(row) for row in rows]

    async def fetch_tagged(self, owner_id: UUID, tag: str, job_ids: Sequence[UUID]) -> set[UUID]:
        """Return those of the jobs that have the tag."""
        rows = await self._database.fetch(_TAGGED, owner_id, tag, list(job_ids))
        return {row["job_id"] for row in rows}

    async def poll(
        self,
        owner_id: UUID,
        last: ChangePoll | None,
        ended: Sequence[UUID],
        *,
        max_running: int,
        max_changes: int,
    ) -> ChangePoll:
        """Return running jobs, other changes since the *last* poll, and which of *ended* were deleted."""
        at, seen = (None, None) if last is None else (last.at, last.seen)
        rows = await self._database.fetch(
            _CHANGED, owner_id, at, seen, list(ended), max_running, max_changes + max_running
        )
        clock = next(row for row in rows if row["at"] is not None)
        job_rows = [row for row in rows if row["id"] is not None]
        changed = [_summary(row) for row in job_rows if row["state"] is not None]
        return ChangePoll(
            at=clock["at"],
            seen=clock["seen"],
            changed=changed,
            gone=[row["id"] for row in job_rows if row["state"] is None],
            is_cut=len(changed) == max_changes + max_running,
        )


def _summary(row: Row) -> JobSummary:
    return JobSummary(
        job_id=row["id"],
        head=row["event_seq"],
        state=row["state"],
        progress=row["progress"],
        pipeline=row["pipeline"],
    )
