"""The statements that end attempts from outside: lost attempts are rescued, jobs out of time fail.

Every worker runs them. They skip rows that another transaction has locked.
"""

from collections.abc import Sequence
from typing import Final

from headrace.domain.database import Database, Row
from headrace.domain.events.sql import event_body_sql
from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.domain.jobs.attempts.lease_repository import held_leases
from headrace.domain.jobs.claim_rules import MAX_BLAMELESS_LOSSES, MAX_LOSSES
from headrace.domain.jobs.settling import ran_seconds_sql, settle_steps_sql

_EXPIRED: Final = """
SELECT id, fence FROM jobs WHERE state = 'running' AND lease_expires_at < statement_timestamp()
ORDER BY lease_expires_at, id LIMIT $1
"""

_REQUEUED_BODY: Final = event_body_sql(reason="'\"worker_lost\"'", run_at="to_json(statement_timestamp())")
_FAILED_BODY: Final = event_body_sql(error="$2::text")

_HELD: Final = "SELECT id, fence FROM jobs WHERE lease_owner = $1 AND state = 'running' ORDER BY id"

# Few rows pass the first condition, so few arrays are parsed.
_HAS_SUCCESS: Final = """(
    earlier::text LIKE '%["step.succeeded",%' AND EXISTS (
        SELECT 1 FROM json_array_elements(earlier) AS e(event) WHERE e.event::text LIKE '["step.succeeded",%'
    )
)"""

# $5 and $6: job and fence of the attempt that ended its worker, if known. $7: a worker that has ended, so its
# leases need not expire first. A job is blamed without evidence from its loss number $8 in a row on. Progress
# may have taken a job past the step for which it needed a process.
_RESCUE: Final = f"""
WITH lost AS (
    SELECT j.id FROM jobs j
    JOIN unnest($1::uuid[], $4::int[]) AS seen(id, fence) ON seen.id = j.id AND seen.fence = j.fence
    WHERE j.state = 'running' AND (j.lease_expires_at < statement_timestamp() OR j.lease_owner = $7::text)
    ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED
), judged AS (
    SELECT j.id, b.is_blamed, progress.seq > 0 AS has_progress,
           CASE WHEN l.count = 0 THEN 0 ELSE j.losses END + b.is_blamed::int AS losses
    FROM lost JOIN jobs j ON j.id = lost.id
    CROSS JOIN LATERAL (
        SELECT coalesce((
            SELECT seq FROM job_changes
            WHERE job_id = j.id AND (type IN ('step.succeeded', 'job.retried') OR {_HAS_SUCCESS})
            ORDER BY seq DESC LIMIT 1
        ), 0) AS seq
    ) progress
    CROSS JOIN LATERAL (
        SELECT count(*) FROM job_changes WHERE job_id = j.id AND type = 'attempt.lost' AND seq > progress.seq
    ) l
    CROSS JOIN LATERAL (
        SELECT coalesce(j.id = $5::uuid AND j.fence = $6::int, false) OR l.count + 1 >= $8 AS is_blamed
    ) b
), changed AS (
    UPDATE jobs SET
        losses = judged.losses,
        needs_process = needs_process AND NOT judged.has_progress,
        state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                     WHEN judged.losses >= $3 THEN 'failed' ELSE 'queued' END,
        error = CASE WHEN cancel_requested_at IS NULL AND judged.losses >= $3
                     THEN $2::text::jsonb ELSE error END,
        finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR judged.losses >= $3
                           THEN statement_timestamp() END,
        lease_owner = NULL, lease_expires_at = NULL, progress_steps = NULL,
        ran_seconds = {ran_seconds_sql("jobs", "least(statement_timestamp(), jobs.lease_expires_at)")},
        event_seq = event_seq + 2, updated_at = statement_timestamp()
    FROM judged WHERE jobs.id = judged.id
    RETURNING jobs.id, owner_id, queue, state, attempt, event_seq, progress, pipeline, is_blamed
), events AS (
    SELECT id, event_seq - 1 AS seq, 'attempt.lost' AS type,
           {event_body_sql(attempt="attempt", blamed="is_blamed")} AS body
    FROM changed
    UNION ALL
    SELECT id, event_seq, CASE state WHEN 'queued' THEN 'job.requeued' ELSE 'job.' || state END,
        CASE state
        WHEN 'queued' THEN {_REQUEUED_BODY}
        WHEN 'failed' THEN {_FAILED_BODY} ELSE {event_body_sql()} END
    FROM changed
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body)
    SELECT id, seq, statement_timestamp(), type, body::json FROM events
), settled AS (
    {settle_steps_sql("changed c")}
)
SELECT c.id, c.owner_id, c.queue, c.state, c.event_seq AS head, c.progress, c.pipeline,
       e.seq, e.type, e.body, statement_timestamp() AS at
FROM changed c JOIN events e ON e.id = c.id ORDER BY c.id, e.seq
"""  # noqa: S608  (fragments of this code base)

_FAIL_TIMED_OUT: Final = f"""
WITH late AS (
    SELECT id FROM jobs
    WHERE state = 'queued' AND ran_seconds >= timeout_seconds
    ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
    UPDATE jobs SET state = 'failed', error = $2::text::jsonb, finished_at = statement_timestamp(),
                    event_seq = event_seq + 1, updated_at = statement_timestamp()
    FROM late WHERE jobs.id = late.id
    RETURNING jobs.id, owner_id, queue, state, event_seq, progress, pipeline
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body)
    SELECT id, event_seq, statement_timestamp(), 'job.failed', ({_FAILED_BODY})::json FROM changed
), settled AS (
    {settle_steps_sql("changed c")}
)
SELECT id, owner_id, queue, state, event_seq AS head, progress, pipeline, event_seq AS seq,
       'job.failed' AS type, {_FAILED_BODY} AS body, statement_timestamp() AS at
FROM changed ORDER BY id
"""  # noqa: S608  (fragments of this code base)


class RescueRepository:
    """Jobs that no live worker takes further; every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_expired(self, limit: int) -> set[HeldLease]:
        """Return up to *limit* leases of any worker that have run out, oldest first."""
        return held_leases(await self._database.fetch(_EXPIRED, limit))

    async def fetch_held(self, worker: str) -> list[HeldLease]:
        """Return the leases of *worker*, in the order of their jobs' ids."""
        return sorted(held_leases(await self._database.fetch(_HELD, worker)))

    async def rescue(
        self,
        leases: Sequence[HeldLease],
        error: str,
        *,
        blamed: HeldLease | None = None,
        dead_worker: str | None = None,
    ) -> Sequence[Row]:
        """Requeue the jobs whose lease has still run out, or is one of *dead_worker*; return a row per event.

        The loss counts for the job of *blamed* only. A job with `MAX_LOSSES` fails with *error* (JSON). A job
        whose cancel was requested is cancelled.
        """
        ids, fences = [job_id for job_id, _ in leases], [fence for _, fence in leases]
        blamed_id, blamed_fence = blamed or (None, None)
        return await self._database.fetch(
            *(_RESCUE, ids, error, MAX_LOSSES, fences, blamed_id, blamed_fence, dead_worker),
            MAX_BLAMELESS_LOSSES,
        )

    async def fail_timed_out(self, limit: int, error: str) -> Sequence[Row]:
        """Fail up to *limit* queued jobs that are out of time with *error* (JSON); return a row per event."""
        return await self._database.fetch(_FAIL_TIMED_OUT, limit, error)
