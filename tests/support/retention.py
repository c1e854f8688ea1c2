"""Ended jobs of any age, and pruners for tests of retention."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from headrace.adapters.database import StatementPool
from headrace.domain.database import Database
from headrace.domain.events.partitions import lowest_id_at
from headrace.domain.retention.expiry import Expiry, ExpiryRule
from headrace.domain.retention.terms import ChosenTerms
from headrace.workers.maintenance.prune_pace import PrunePace
from headrace.workers.maintenance.pruner import Pruner

OWNER: Final = UUID(int=0xADA)

_OWNER: Final = """
INSERT INTO users (id, username, is_admin, created_at, updated_at) VALUES ($1, $2, false, now(), now())
ON CONFLICT DO NOTHING
"""
_PIPELINE: Final = """
INSERT INTO pipelines (id, name, version, description, graph, params_schema, keep, created_at, updated_at)
VALUES (gen_random_uuid(), $1, 1, '', '[]', '{}', $2::text::jsonb, now(), now())
ON CONFLICT (name, version) DO UPDATE SET keep = excluded.keep
"""
# Jobs with three events in two rows, a step run each, and a tag.
_JOBS: Final = """
WITH new AS (
    INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                      due_order, event_seq, created_at, updated_at, finished_at, keep, lease_owner,
                      lease_expires_at)
    SELECT id, $1, $2, 1, $3::text, '{}', '{}', 'default', 0, $4, $4, 3, $4, $4,
           CASE WHEN $3::text IN ('succeeded', 'failed', 'cancelled') THEN $4::timestamptz END, $6,
           CASE WHEN $3::text = 'running' THEN 'w' END, CASE WHEN $3::text = 'running' THEN now() END
    FROM unnest($5::uuid[]) AS id RETURNING id
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body, earlier)
    SELECT id, 1, $4::timestamptz, 'job.queued', '{}'::json, NULL::json FROM new
    UNION ALL SELECT id, 3, $4, 'job.started', '{}', '[["log",{"n":1}]]' FROM new
)
INSERT INTO step_runs (job_id, key, name, state, attempt, tries)
SELECT id, 'step', 'step', 'succeeded', 1, 1 FROM new
"""
_FILES: Final = """
INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256, blob_key, created_at,
                   updated_at)
SELECT gen_random_uuid(), $1, job, CASE WHEN job IS NOT NULL THEN 'step' END, 'file', 'a/b', 7,
       sha256('x'), gen_random_uuid(), $3, $3
FROM unnest($2::uuid[]) AS job RETURNING id
"""


async def prune_expired(database: Database, *expiries: Expiry) -> None:
    """Remove the expired rows of small tables."""
    for expiry in expiries:
        await ExpiryRule(database, expiry).prune(datetime.now(UTC), 1_000)


async def add_pipeline(
    database: StatementPool, name: str = "noop", keep: Mapping[str, float | str] | None = None
) -> None:
    """Register a pipeline for `add_jobs`, or change what it keeps."""
    await add_owner(database, OWNER, "ada")
    await database.fetch(_PIPELINE, name, None if keep is None else msgspec.json.encode(keep).decode())


async def add_owner(database: StatementPool, owner: UUID, name: str) -> None:
    """Store a user for `add_jobs` and `add_files`."""
    await database.fetch(_OWNER, owner, name)


async def add_jobs(
    database: StatementPool,
    ended_at: datetime,
    count: int = 1,
    *,
    state: str = "succeeded",
    pipeline: str = "noop",
    keep: bool = False,
    owner: UUID = OWNER,
) -> list[UUID]:
    """Store jobs that were submitted and have ended at that time, with history, or are in another *state*."""
    first = lowest_id_at(ended_at).int + 0x7000_8000_0000_0000_0000 + _serial(count)
    ids = [UUID(int=first + place) for place in range(count)]
    await database.fetch(_JOBS, owner, pipeline, state, ended_at, ids, keep)
    return ids


_next_serial = 0


def _serial(count: int) -> int:
    """Return a number from which on *count* numbers are not in use."""
    global _next_serial  # noqa: PLW0603
    _next_serial += count
    return _next_serial - count


async def add_files(
    database: StatementPool, created_at: datetime, *jobs: UUID | None, owner: UUID = OWNER
) -> list[UUID]:
    """Store the rows of a file of each job; None: of an upload."""
    rows = await database.fetch(_FILES, owner, list(jobs), created_at)
    return [row["id"] for row in rows]


def new_pruner(
    database: StatementPool, now: datetime | None = None, *, holder: str = "w", **terms: timedelta
) -> Pruner:
    """Return a pruner that does not pause. *terms* are those of the settings; *now* is its clock."""

    async def at() -> datetime:
        assert now is not None
        return now

    async def skip(_: float) -> None:
        """Do not sleep."""

    clock: Callable[[], Awaitable[datetime]] | None = None if now is None else at
    return Pruner(database, ChosenTerms(**terms), holder, pace=PrunePace(), now=clock, sleep=skip)


async def count_rows(database: StatementPool) -> dict[str, int]:
    """Return the number of rows in each table that grows with jobs."""
    counts: dict[str, int] = {}
    for table in ("jobs", "job_changes", "step_runs", "job_tags", "files", "blob_removals"):
        rows: Any = await database.fetch(f"SELECT count(*)::int AS count FROM {table}")  # noqa: S608
        counts[table] = rows[0]["count"]
    return counts


async def count_orphans(database: StatementPool) -> dict[str, int]:
    """Return the number of rows whose job is gone, by table."""
    counts: dict[str, int] = {}
    for table in ("job_changes", "step_runs", "job_tags", "files"):
        rows: Any = await database.fetch(
            f"SELECT count(*)::int AS count FROM {table} t"  # noqa: S608
            " WHERE job_id IS NOT NULL AND NOT EXISTS (SELECT FROM jobs WHERE id = t.job_id)"
        )
        counts[table] = rows[0]["count"]
    return counts
