"""The queries behind an overview of one owner's jobs: the newest, and what changed since the last look."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database, Row
from headrace.domain.events.news import JobSummary
from headrace.domain.jobs.overview.overview import OverviewFilter

_NEWEST: Final = """
SELECT id, event_seq, state, progress, pipeline FROM jobs
WHERE owner_id = $1{conditions} ORDER BY created_at DESC, id DESC LIMIT $2
"""

_CONDITIONS: Final = {
    "state": " AND state = ${}",
    "pipeline": " AND pipeline = ${}",
    "tag": " AND id IN (SELECT l.job_id FROM tags t JOIN job_tags l ON l.tag_id = t.id"
    " WHERE t.owner_id = $1 AND t.name = ${})",
}

_TAGGED: Final = """
SELECT l.job_id FROM tags t JOIN job_tags l ON l.tag_id = t.id
WHERE t.owner_id = $1 AND t.name = $2 AND l.job_id = ANY($3::uuid[])
"""

# No index on updated_at: it would make every log line of a running job a change of all its indexes. What has
# changed is among the running, those that wait again, the new and the ended. A statement may become visible
# long after the time that it wrote: 30 s is more than one may take (20 s) and a transaction may idle (5 s).
# What the last look could see already is left out: xmin, made 64 bits wide, against its snapshot. (That does
# not know of savepoints; no writer uses one.) Of running jobs progress is stored without an event.
_CHANGED: Final = """
WITH clock AS (
    SELECT statement_timestamp() AS at, pg_current_snapshot()::text AS seen,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest
), looked AS (
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
), changed AS (
    SELECT id, event_seq, state, progress, pipeline FROM looked CROSS JOIN clock
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
    """What was changed at the time of a look, and what it could see; *is_cut*: there was more."""

    at: datetime
    seen: str
    changed: Sequence[JobSummary]
    gone: Sequence[UUID]
    is_cut: bool


class OverviewRepository:
    """Reads; every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, owner_id: UUID, wanted: OverviewFilter, limit: int) -> list[JobSummary]:
        """The newest jobs that are wanted, newest first."""
        arguments: list[object] = [owner_id, limit]
        conditions = ""
        for name, condition in _CONDITIONS.items():
            if (value := getattr(wanted, name)) is not None:
                arguments.append(str(value))
                conditions += condition.format(len(arguments))
        rows = await self._database.fetch(_NEWEST.format(conditions=conditions), *arguments)
        return [_summary(row) for row in rows]

    async def tagged(self, owner_id: UUID, tag: str, job_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the jobs that have the tag."""
        rows = await self._database.fetch(_TAGGED, owner_id, tag, list(job_ids))
        return {row["job_id"] for row in rows}

    async def look(
        self, owner_id: UUID, last: ChangePoll | None, ended: Sequence[UUID], *, max_running: int, most: int
    ) -> ChangePoll:
        """The newest running jobs, what else changed since the *last* look, and which of *ended* are gone."""
        at, seen = (None, None) if last is None else (last.at, last.seen)
        rows = await self._database.fetch(
            _CHANGED, owner_id, at, seen, list(ended), max_running, most + max_running
        )
        clock = next(row for row in rows if row["at"] is not None)
        found = [row for row in rows if row["id"] is not None]
        changed = [_summary(row) for row in found if row["state"] is not None]
        return ChangePoll(
            at=clock["at"],
            seen=clock["seen"],
            changed=changed,
            gone=[row["id"] for row in found if row["state"] is None],
            is_cut=len(changed) == most + max_running,
        )


def _summary(row: Row) -> JobSummary:
    return JobSummary(
        job_id=row["id"],
        head=row["event_seq"],
        state=row["state"],
        progress=row["progress"],
        pipeline=row["pipeline"],
    )
