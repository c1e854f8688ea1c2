"""The statements about leases: claim, renew, take back. Each is one autocommit statement.

A statement that touches several jobs locks them first, in the order of their ids: two that meet wait for each
other in turn instead of dead-locking.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from headrace.domain.database import Database, Row

MAX_LOSSES: Final = 5

_CLAIM: Final = """
WITH due AS (
    SELECT j.id, j.due_order
    FROM unnest($1::text[]) AS q(queue)
    CROSS JOIN LATERAL (
        SELECT id, due_order FROM jobs
        WHERE jobs.queue = q.queue AND state = 'queued'
          AND due_order <= statement_timestamp() AND run_at <= statement_timestamp()
          AND (losses >= 2) = $6
          AND pipeline || '@' || version = ANY($2::text[])
        ORDER BY due_order LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
    ) j
    ORDER BY j.due_order LIMIT $3
), claimed AS (
    UPDATE jobs SET
        state = 'running', attempt = attempt + 1, fence = fence + 1, write_no = 0,
        lease_owner = $4, lease_expires_at = statement_timestamp() + $5::interval,
        started_at = coalesce(started_at, statement_timestamp()),
        event_seq = event_seq + 1, updated_at = statement_timestamp()
    FROM due WHERE jobs.id = due.id
    RETURNING jobs.*
), logged AS (
    INSERT INTO job_events (job_id, seq, at, type, body)
    SELECT id, event_seq, statement_timestamp(), 'job.started',
           ('{"attempt":' || attempt || ',"worker":' || to_json($4::text) || '}')::json
    FROM claimed
    RETURNING job_id, at, body::text AS body
)
SELECT id, owner_id, request_id, pipeline, version, queue, params::text AS params, attempt, fence,
       max_attempts, losses, progress, event_seq, log_events,
       cancel_requested_at IS NOT NULL AS cancel_requested,
       extract(epoch FROM started_at - statement_timestamp())::float8 + timeout_seconds AS seconds_left,
       logged.at, logged.body
FROM claimed JOIN logged ON logged.job_id = claimed.id
ORDER BY due_order
"""

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

# For when somebody holds a row and does not let go: waiting for it would cost all the others their leases.
# Whoever takes back what ran out skips it likewise.
_RENEW_OTHERS: Final = _RENEW.replace("FOR NO KEY UPDATE\n", "FOR NO KEY UPDATE SKIP LOCKED\n")

_TO_CANCEL: Final = """
SELECT id, fence FROM jobs
WHERE lease_owner = $1 AND state = 'running' AND cancel_requested_at IS NOT NULL
"""

_EXPIRED: Final = """
SELECT id, fence FROM jobs WHERE state = 'running' AND lease_expires_at < statement_timestamp()
ORDER BY lease_expires_at, id LIMIT $1
"""

_TAKE_BACK: Final = """
WITH lost AS (
    SELECT j.id FROM jobs j
    JOIN unnest($1::uuid[], $4::int[]) AS seen(id, fence) ON seen.id = j.id AND seen.fence = j.fence
    WHERE j.state = 'running' AND j.lease_expires_at < statement_timestamp()
    ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED
), changed AS (
    UPDATE jobs SET
        losses = losses + 1,
        state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                     WHEN losses + 1 >= $3 THEN 'failed' ELSE 'queued' END,
        error = CASE WHEN cancel_requested_at IS NULL AND losses + 1 >= $3
                     THEN $2::text::jsonb ELSE error END,
        finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR losses + 1 >= $3
                           THEN statement_timestamp() END,
        run_at = statement_timestamp(),
        due_order = statement_timestamp() - priority * interval '60 seconds',
        lease_owner = NULL, lease_expires_at = NULL, progress_steps = NULL,
        event_seq = event_seq + 2, updated_at = statement_timestamp()
    FROM lost WHERE jobs.id = lost.id
    RETURNING jobs.id, owner_id, queue, state, attempt, event_seq, progress, pipeline
), told AS (
    SELECT id, event_seq - 1 AS seq, 'attempt.lost' AS type, '{"attempt":' || attempt || '}' AS body
    FROM changed
    UNION ALL
    SELECT id, event_seq, CASE state WHEN 'queued' THEN 'job.requeued' ELSE 'job.' || state END,
        CASE state
        WHEN 'queued' THEN '{"reason":"worker_lost","run_at":' || to_json(statement_timestamp()) || '}'
        WHEN 'failed' THEN '{"error":' || $2::text || '}' ELSE '{}' END
    FROM changed
), logged AS (
    INSERT INTO job_events (job_id, seq, at, type, body)
    SELECT id, seq, statement_timestamp(), type, body::json FROM told
), stepped AS (
    UPDATE step_runs SET
        state = CASE WHEN c.state = 'queued' THEN 'pending' ELSE 'cancelled' END,
        retry_at = CASE WHEN c.state = 'queued' THEN retry_at END,
        finished_at = CASE WHEN c.state = 'queued' THEN NULL ELSE statement_timestamp() END
    FROM changed c WHERE step_runs.job_id = c.id
      AND (step_runs.state = 'running' OR (step_runs.state = 'pending' AND c.state <> 'queued'))
)
SELECT c.id, c.owner_id, c.queue, c.state, c.event_seq AS head, c.progress, c.pipeline,
       t.seq, t.type, t.body, statement_timestamp() AS at
FROM changed c JOIN told t ON t.id = c.id ORDER BY c.id, t.seq
"""

_TIME_OUT: Final = """
WITH late AS (
    SELECT id FROM jobs
    WHERE state = 'queued' AND timeout_seconds IS NOT NULL AND started_at IS NOT NULL
      AND started_at + timeout_seconds * interval '1 second' < statement_timestamp()
    ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
    UPDATE jobs SET state = 'failed', error = $2::text::jsonb, finished_at = statement_timestamp(),
                    event_seq = event_seq + 1, updated_at = statement_timestamp()
    FROM late WHERE jobs.id = late.id
    RETURNING jobs.id, owner_id, queue, state, event_seq, progress, pipeline
), logged AS (
    INSERT INTO job_events (job_id, seq, at, type, body)
    SELECT id, event_seq, statement_timestamp(), 'job.failed', ('{"error":' || $2::text || '}')::json
    FROM changed
), stepped AS (
    UPDATE step_runs SET state = 'cancelled', retry_at = NULL, finished_at = statement_timestamp()
    FROM changed c WHERE step_runs.job_id = c.id AND step_runs.state IN ('pending', 'running')
)
SELECT id, owner_id, queue, state, event_seq AS head, progress, pipeline, event_seq AS seq,
       'job.failed' AS type, '{"error":' || $2::text || '}' AS body, statement_timestamp() AS at
FROM changed ORDER BY id
"""

_HAND_BACK_UNKNOWN: Final = """
WITH held AS (
    SELECT j.id FROM jobs j
    JOIN unnest($1::uuid[], $2::int[]) AS u(id, fence) ON u.id = j.id AND u.fence = j.fence
    WHERE j.state = 'running' AND j.lease_owner = $3 ORDER BY j.id FOR NO KEY UPDATE OF j
), changed AS (
    UPDATE jobs SET
        state = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
        finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN statement_timestamp() END,
        lease_owner = NULL, lease_expires_at = NULL, run_at = statement_timestamp(),
        due_order = statement_timestamp() - priority * interval '60 seconds',
        progress_steps = NULL, event_seq = event_seq + 1, updated_at = statement_timestamp()
    FROM held WHERE jobs.id = held.id
    RETURNING jobs.id, event_seq, state
), stepped AS (
    UPDATE step_runs SET
        state = CASE WHEN c.state = 'queued' THEN 'pending' ELSE 'cancelled' END,
        retry_at = CASE WHEN c.state = 'queued' THEN retry_at END,
        finished_at = CASE WHEN c.state = 'cancelled' THEN statement_timestamp() END
    FROM changed c WHERE step_runs.job_id = c.id
      AND (step_runs.state = 'running' OR (step_runs.state = 'pending' AND c.state = 'cancelled'))
)
INSERT INTO job_events (job_id, seq, at, type, body)
SELECT id, event_seq, statement_timestamp(),
       CASE state WHEN 'queued' THEN 'job.requeued' ELSE 'job.cancelled' END,
       CASE state WHEN 'queued'
       THEN ('{"reason":"handed_back","run_at":' || to_json(statement_timestamp()) || '}')::json ELSE '{}' END
FROM changed
"""

_SUSPECT_IS_DUE: Final = """
SELECT EXISTS (
    SELECT 1 FROM jobs WHERE state = 'queued' AND losses >= 2 AND queue = ANY($1::text[])
      AND run_at <= statement_timestamp() AND pipeline || '@' || version = ANY($2::text[])
) AS due
"""


class LeaseRepository:
    """Who may run which job, and until when."""

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
    ) -> Sequence[Row]:
        """Lease up to *limit* due jobs, in claim order; with *suspects* only such as were lost twice."""
        return await self._database.fetch(
            _CLAIM, list(queues), list(pipelines), limit, worker, lease, suspects
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
    ) -> set[tuple[UUID, int]]:
        """Prolong all leases of *worker* and say that it is alive; returns the (job, fence) that it holds.

        With *skip_locked* a lease whose row somebody else holds stays as it is.
        """
        columns = [list(column) for column in zip(*progress, strict=True)] if progress else [[], [], [], []]
        rows = await self._database.fetch(
            _RENEW_OTHERS if skip_locked else _RENEW,
            worker,
            lease,
            list(queues),
            list(pipelines),
            concurrency,
            *columns,
        )
        return {(row["id"], row["fence"]) for row in rows}

    async def to_cancel(self, worker: str) -> set[tuple[UUID, int]]:
        rows = await self._database.fetch(_TO_CANCEL, worker)
        return {(row["id"], row["fence"]) for row in rows}

    async def expired(self, limit: int) -> set[tuple[UUID, int]]:
        rows = await self._database.fetch(_EXPIRED, limit)
        return {(row["id"], row["fence"]) for row in rows}

    async def take_back(self, expired: Sequence[tuple[UUID, int]], error: str) -> Sequence[Row]:
        """Requeue (or fail, or cancel) those jobs if their lease has run out; one row an event."""
        ids, fences = [job_id for job_id, _ in expired], [fence for _, fence in expired]
        return await self._database.fetch(_TAKE_BACK, ids, error, MAX_LOSSES, fences)

    async def time_out(self, limit: int, error: str) -> Sequence[Row]:
        """Fail queued jobs whose time is over; one row an event."""
        return await self._database.fetch(_TIME_OUT, limit, error)

    async def hand_back(self, worker: str, held: Sequence[tuple[UUID, int]]) -> None:
        """Requeue (or cancel) jobs that the database says *worker* holds and that it does not know."""
        await self._database.fetch(
            _HAND_BACK_UNKNOWN, [job_id for job_id, _ in held], [fence for _, fence in held], worker
        )

    async def suspect_is_due(self, queues: Sequence[str], pipelines: Sequence[str]) -> bool:
        rows = await self._database.fetch(_SUSPECT_IS_DUE, list(queues), list(pipelines))
        return bool(rows[0]["due"])

    async def forget_worker(self, worker: str) -> None:
        await self._database.fetch("DELETE FROM workers WHERE id = $1", worker)

    async def tidy(self) -> None:
        """Drop what is of no use any more: keys after a day, workers not seen for a day, old sign-ins."""
        await self._database.fetch(
            "DELETE FROM idempotency_keys WHERE created_at < statement_timestamp() - interval '24 hours'"
        )
        await self._database.fetch(
            "DELETE FROM workers WHERE last_seen_at < statement_timestamp() - interval '24 hours'"
        )
        await self._database.fetch("DELETE FROM login_attempts WHERE expires_at < statement_timestamp()")
        await self._database.fetch("DELETE FROM login_sessions WHERE expires_at < statement_timestamp()")
