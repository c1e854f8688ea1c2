"""The statements with which a worker holds leases: claim, renew, release. Each is its own transaction.

A statement that locks several jobs locks them in the order of their ids, so that two such statements wait for
each other instead of deadlocking.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from headrace.domain.database import Database, Row
from headrace.domain.events.sql import event_body_sql
from headrace.domain.jobs.attempts.claim_sql import CLAIM, CLAIM_SUSPECTS
from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.domain.jobs.claim_rules import IS_SUSPECT_SQL
from headrace.domain.jobs.settling import ran_seconds_sql, settle_steps_sql
from headrace.domain.pipelines.versions import VERSION_KEY_SQL

_RENEW: Final = """
WITH seen AS (
    INSERT INTO workers (id, queues, pipelines, concurrency, started_at, last_seen_at)
    VALUES ($1, $3::text[], $4::text[], $5, statement_timestamp(), statement_timestamp())
    ON CONFLICT (id) DO UPDATE SET
        queues = excluded.queues, pipelines = excluded.pipelines, concurrency = excluded.concurrency,
        last_seen_at = excluded.last_seen_at
), held AS (
    SELECT id, fence FROM jobs WHERE lease_owner = $1 AND state = 'running'
    ORDER BY id FOR NO KEY UPDATE
), renewed AS (
    UPDATE jobs j SET
        lease_expires_at = statement_timestamp() + $2::interval,
        progress = greatest(j.progress, coalesce(p.fraction, j.progress)),
        progress_steps = coalesce(p.steps::jsonb, j.progress_steps)
    FROM held
    LEFT JOIN unnest($6::uuid[], $7::int[], $8::float8[], $9::text[]) AS p(id, fence, fraction, steps)
        ON p.id = held.id AND p.fence = held.fence
    WHERE j.id = held.id AND j.state = 'running' AND j.lease_owner = $1
)
SELECT id, fence FROM jobs WHERE lease_owner = $1 AND state = 'running'
"""

# One locked row must not cost this worker its other leases. Rescuers skip locked rows likewise, so the lease
# that is not renewed is not taken either.
_RENEW_UNLOCKED: Final = _RENEW.replace("FOR NO KEY UPDATE\n", "FOR NO KEY UPDATE SKIP LOCKED\n")

_CANCEL_REQUESTS: Final = """
SELECT id, fence FROM jobs
WHERE lease_owner = $1 AND state = 'running' AND cancel_requested_at IS NOT NULL
"""

_RELEASED_BODY: Final = event_body_sql(reason="'\"handed_back\"'", run_at="to_json(statement_timestamp())")

_RELEASE: Final = f"""
WITH held AS (
    SELECT j.id FROM jobs j
    JOIN unnest($1::uuid[], $2::int[]) AS u(id, fence) ON u.id = j.id AND u.fence = j.fence
    WHERE j.state = 'running' AND j.lease_owner = $3 ORDER BY j.id FOR NO KEY UPDATE OF j
), changed AS (
    UPDATE jobs SET
        state = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
        finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN statement_timestamp() END,
        lease_owner = NULL, lease_expires_at = NULL,
        progress_steps = NULL, ran_seconds = {ran_seconds_sql("jobs")},
        event_seq = event_seq + 1, updated_at = statement_timestamp()
    FROM held WHERE jobs.id = held.id
    RETURNING jobs.id, event_seq, state
), settled AS (
    {settle_steps_sql("changed c")}
)
INSERT INTO job_changes (job_id, seq, at, type, body)
SELECT id, event_seq, statement_timestamp(),
       CASE state WHEN 'queued' THEN 'job.requeued' ELSE 'job.cancelled' END,
       (CASE state WHEN 'queued' THEN {_RELEASED_BODY} ELSE {event_body_sql()} END)::json
FROM changed
"""  # noqa: S608  (fragments of this code base)

_COUNT_DUE_SUSPECTS: Final = f"""
SELECT count(*)::int AS due FROM (
    SELECT 1 FROM jobs WHERE state = 'queued' AND {IS_SUSPECT_SQL} AND queue = ANY($1::text[])
      AND run_at <= statement_timestamp() AND {VERSION_KEY_SQL} = ANY($2::text[]) LIMIT $3
) suspects
"""  # noqa: S608  (fragments of this code base)


class LeaseRepository:
    """The leases of one worker; every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self,
        queues: Sequence[str],
        pipelines: Sequence[str],
        limit: int,
        *,
        worker: str,
        lease: timedelta,
        suspects: bool,
        process_limit: int,
    ) -> Sequence[Row]:
        """Lease up to *limit* due jobs, in claim order: only suspects, or none of them.

        Up to *process_limit* of them begin with a step that runs in a process.
        """
        served = [(queue, pipeline) for queue in queues for pipeline in pipelines]
        return await self._database.fetch(
            CLAIM_SUSPECTS if suspects else CLAIM,
            [queue for queue, _ in served],
            [pipeline for _, pipeline in served],
            limit,
            worker,
            lease,
            process_limit,
        )

    async def renew(
        self,
        worker: str,
        lease: timedelta,
        *,
        queues: Sequence[str],
        pipelines: Sequence[str],
        concurrency: int,
        progress: Sequence[tuple[UUID, int, float, str]],
        skip_locked: bool,
    ) -> set[HeldLease]:
        """Renew all leases of *worker*, store progress, and record that it is alive; return what it holds.

        With *skip_locked*, leases whose rows another transaction has locked are not renewed.
        """
        columns = [list(column) for column in zip(*progress, strict=True)] if progress else [[], [], [], []]
        rows = await self._database.fetch(
            _RENEW_UNLOCKED if skip_locked else _RENEW,
            worker,
            lease,
            list(queues),
            list(pipelines),
            concurrency,
            *columns,
        )
        return held_leases(rows)

    async def fetch_cancel_requests(self, worker: str) -> set[HeldLease]:
        """Return the attempts of *worker* whose job a user wants to cancel."""
        return held_leases(await self._database.fetch(_CANCEL_REQUESTS, worker))

    async def release(self, worker: str, leases: Sequence[HeldLease]) -> None:
        """Requeue the jobs of these leases of *worker*, or cancel them where a cancel was requested."""
        ids, fences = [job_id for job_id, _ in leases], [fence for _, fence in leases]
        await self._database.fetch(_RELEASE, ids, fences, worker)

    async def count_due_suspects(self, queues: Sequence[str], pipelines: Sequence[str], limit: int) -> int:
        rows = await self._database.fetch(_COUNT_DUE_SUSPECTS, list(queues), list(pipelines), limit)
        return int(rows[0]["due"])


def held_leases(rows: Sequence[Row]) -> set[HeldLease]:
    return {(row["id"], row["fence"]) for row in rows}
