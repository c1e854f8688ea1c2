"""The statement that writes the changes of many attempts at once, and the read of stored step runs."""

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from headrace.domain.database import Database, Row
from headrace.domain.events.change_rows import rows_of
from headrace.domain.events.sql import event_body_sql
from headrace.domain.jobs.attempts.changes import Change, JobMove, NewFile
from headrace.domain.jobs.claim_rules import due_order_sql
from headrace.domain.jobs.settling import ran_seconds_sql, settle_steps_sql

_STEPS: Final = """
SELECT job_id, key, name, index, state, tries, items::text AS items, output::text AS output,
       extract(epoch FROM retry_at - statement_timestamp())::float8 AS retry_seconds,
       state = 'pending' AND started_at IS NOT NULL AND error IS NULL AS is_open
FROM step_runs WHERE job_id = ANY($1::uuid[])
"""

_DELAYED_RUN_AT: Final = "statement_timestamp() + w.delay * interval '1 second'"
_DELAYED_DUE_ORDER: Final = due_order_sql(_DELAYED_RUN_AT, "j.created_at", "j.priority")

# Because of write_no, a change that is sent again after a lost answer is written only once. If a cancel was
# requested, a change that ends the attempt becomes a cancel: its last event is rewritten to `job.cancelled`.
# A job that fails or is cancelled takes its unfinished steps with it, also those that are not in the change.
_WRITE: Final = f"""
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::int[], $6::text[], $7::text[],
                         $8::text[], $9::float8[], $10::float8[], $34::bool[], $36::float8[], $37::text[])
    AS w(id, fence, write_no, events, logs, target, result, error, delay, progress, needs_process, waited,
         result_step)
), locked AS (
    SELECT j.id, j.fence, j.state, j.write_no, j.cancel_requested_at
    FROM jobs j JOIN new w ON w.id = j.id
    ORDER BY j.id FOR NO KEY UPDATE OF j
), judged AS (
    SELECT w.id, w.write_no, w.events, w.logs, w.result, w.error, w.progress, w.needs_process,
        w.delay, w.waited, w.result_step, o.overruled,
        CASE WHEN o.overruled THEN 'cancelled' ELSE w.target END AS target,
        CASE WHEN l.id IS NULL OR l.fence <> w.fence THEN 'lost'
             WHEN l.write_no >= w.write_no THEN 'before'
             WHEN l.state <> 'running' THEN 'lost'
             ELSE 'now' END AS verdict
    FROM new w LEFT JOIN locked l ON l.id = w.id
    CROSS JOIN LATERAL (
        SELECT coalesce(w.target <> 'cancelled' AND l.cancel_requested_at IS NOT NULL, false) AS overruled
    ) o
), changed AS (
    UPDATE jobs j SET
        write_no = w.write_no,
        event_seq = j.event_seq + w.events,
        log_events = j.log_events + w.logs,
        updated_at = statement_timestamp(),
        state = coalesce(w.target, j.state),
        result = CASE WHEN w.target = 'succeeded' THEN w.result::json ELSE j.result END,
        result_step = CASE WHEN w.target = 'succeeded' THEN w.result_step ELSE j.result_step END,
        error = CASE WHEN w.target = 'failed' THEN w.error::jsonb ELSE j.error END,
        progress = CASE WHEN w.target = 'succeeded' THEN 1 ELSE coalesce(w.progress, j.progress) END,
        progress_steps = CASE WHEN w.target IS NULL THEN j.progress_steps END,
        lease_owner = CASE WHEN w.target IS NULL THEN j.lease_owner END,
        lease_expires_at = CASE WHEN w.target IS NULL THEN statement_timestamp() + $33::interval END,
        run_at = CASE WHEN w.target = 'queued' AND w.delay IS NOT NULL
            THEN {_DELAYED_RUN_AT} ELSE j.run_at END,
        due_order = CASE WHEN w.target = 'queued' AND w.delay IS NOT NULL
            THEN {_DELAYED_DUE_ORDER} ELSE j.due_order END,
        ran_seconds = CASE WHEN w.target = 'queued'
            THEN greatest({ran_seconds_sql("j")} - coalesce(w.waited, 0), j.ran_seconds)
            ELSE j.ran_seconds END,
        needs_process = CASE WHEN w.target = 'queued'
            THEN coalesce(w.needs_process, false) ELSE j.needs_process END,
        finished_at = CASE WHEN w.target IN ('succeeded', 'failed', 'cancelled')
            THEN statement_timestamp() ELSE j.finished_at END
    FROM judged w WHERE j.id = w.id AND w.verdict = 'now'
    RETURNING j.id, j.owner_id, j.attempt, j.event_seq, j.state, j.pipeline, j.progress
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body, earlier)
    SELECT e.job_id, c.event_seq - w.events + e.position, statement_timestamp(),
           CASE WHEN w.overruled AND e.position = w.events THEN 'job.cancelled' ELSE e.type END,
           CASE WHEN w.overruled AND e.position = w.events THEN {event_body_sql()} ELSE e.body END::json,
           e.earlier::json
    FROM unnest($11::uuid[], $12::int[], $13::text[], $14::text[], $15::text[])
         AS e(job_id, position, type, body, earlier)
    JOIN changed c ON c.id = e.job_id JOIN judged w ON w.id = e.job_id
), stepped AS (
    INSERT INTO step_runs AS r (job_id, key, name, index, state, attempt, tries, items, output, error,
                                retry_at, started_at, finished_at)
    SELECT s.job_id, s.key, split_part(s.key, '[', 1), s.index, f.state, c.attempt, s.tries,
           s.items::json, s.output::json, s.error::jsonb,
           statement_timestamp() + s.retry * interval '1 second',
           CASE WHEN s.started THEN statement_timestamp() END,
           CASE WHEN f.state IN ('succeeded', 'failed', 'cancelled') THEN statement_timestamp() END
    FROM unnest($16::uuid[], $17::text[], $18::int[], $19::text[], $20::int[], $21::text[], $22::text[],
                $23::text[], $24::float8[], $25::bool[])
         AS s(job_id, key, index, state, tries, items, output, error, retry, started)
    JOIN changed c ON c.id = s.job_id JOIN judged w ON w.id = s.job_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN w.overruled AND s.state = 'pending' THEN 'cancelled' ELSE s.state END AS state
    ) f
    ON CONFLICT (job_id, key) DO UPDATE SET
        state = excluded.state, attempt = excluded.attempt, tries = excluded.tries,
        items = coalesce(excluded.items, r.items), output = coalesce(excluded.output, r.output),
        error = excluded.error, retry_at = excluded.retry_at,
        started_at = coalesce(excluded.started_at, r.started_at), finished_at = excluded.finished_at
    WHERE r.state <> 'succeeded'
), settled AS (
    {settle_steps_sql("judged c", "c.target")}
      AND c.target IN ('failed', 'cancelled') AND c.verdict = 'now' AND NOT EXISTS (
          SELECT 1 FROM unnest($16::uuid[], $17::text[]) AS s(job_id, key)
          WHERE s.job_id = step_runs.job_id AND s.key = step_runs.key
      )
), filed AS (
    INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256, blob_key,
                       created_at, updated_at)
    SELECT f.id, c.owner_id, f.job_id, f.step, f.name, f.media_type, f.size, f.sha256, f.blob_key,
           statement_timestamp(), statement_timestamp()
    FROM unnest($26::uuid[], $27::uuid[], $28::text[], $29::text[], $30::text[], $31::bigint[], $32::bytea[],
                $35::uuid[])
         AS f(job_id, id, step, name, media_type, size, sha256, blob_key)
    JOIN changed c ON c.id = f.job_id
    ON CONFLICT (id) DO UPDATE SET
        media_type = excluded.media_type, size = excluded.size, sha256 = excluded.sha256,
        blob_key = excluded.blob_key, updated_at = excluded.updated_at
)
SELECT w.id, w.verdict, c.owner_id, c.event_seq AS head, c.state, c.pipeline, c.progress,
       statement_timestamp() AS at
FROM judged w LEFT JOIN changed c ON c.id = w.id
"""  # noqa: S608  (fragments of this code base)


class ChangeRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_steps(self, job_ids: Sequence[UUID]) -> Sequence[Row]:
        """Return the step runs that earlier attempts of the jobs have stored."""
        return await self._database.fetch(_STEPS, list(job_ids))

    async def write(self, changes: Sequence[Change], lease: timedelta) -> Sequence[Row]:
        """Write one change each of different jobs; return one row per change with its verdict.

        A change that does not end its attempt renews its lease for *lease*: the heartbeat skips a row that
        this statement has locked.
        """
        needs_process = [(change.move and change.move.needs_process) or None for change in changes]
        waited = [(change.move and _uncharged_seconds(change.move)) or None for change in changes]
        result_steps = [change.move and change.move.result_step for change in changes]
        blob_keys = [file.blob_key for change in changes for file in _newest_files(change)]
        return await self._database.fetch(
            _WRITE,
            *_columns(changes),
            lease,
            _without_nulls(needs_process),
            blob_keys,
            _without_nulls(waited),
            _without_nulls(result_steps),
        )


def _uncharged_seconds(move: JobMove) -> float:
    """Return how long the attempt has only waited, with the time that its end waits to be stored."""
    return move.waited_seconds + (0.0 if move.ended_at is None else time.monotonic() - move.ended_at)


def _columns(changes: Sequence[Change]) -> list[list[Any]]:
    jobs: list[tuple[Any, ...]] = []
    log_rows: list[tuple[Any, ...]] = []
    steps: list[tuple[Any, ...]] = []
    files: list[tuple[Any, ...]] = []
    for change in changes:
        move, job_id = change.move, change.job_id
        jobs.append(
            (
                job_id,
                change.fence,
                change.write_no,
                len(change.events),
                change.log_count,
                move and move.target.value,
                move and move.result,
                move and move.error and msgspec.json.encode(move.error).decode(),
                (move and move.delay_seconds) or None,
                change.progress,
            )
        )
        log_rows += [
            (job_id, row.position, row.type, row.body, row.earlier) for row in rows_of(change.events)
        ]
        steps += [
            (
                job_id,
                row.key,
                row.index,
                row.state.value,
                row.tries,
                row.items,
                row.output,
                row.error,
                row.retry_seconds,
                row.started,
            )
            for row in change.steps.values()
        ]
        files += [
            (job_id, file.id, file.step, file.name, file.media_type, file.size, file.sha256)
            for file in _newest_files(change)
        ]
    columns: list[list[Any]] = []
    for rows, width in ((jobs, 10), (log_rows, 5), (steps, 10), (files, 7)):
        columns += map(_without_nulls, zip(*rows, strict=True)) if rows else ([] for _ in range(width))
    return columns


def _newest_files(change: Change) -> Iterable[NewFile]:
    """Return the files of *change*; of those that were saved several times, the last."""
    return {file.id: file for file in change.files}.values() if change.files else ()


def _without_nulls(column: Sequence[Any]) -> list[Any]:
    """Send a column of nulls as an empty array: `unnest` pads it with nulls, and it costs nothing."""
    return [] if column.count(None) == len(column) else list(column)
