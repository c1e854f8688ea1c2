"""The statements that claim due jobs: one for suspects, one for all others.

Millions of queued jobs may be impossible to claim, because nobody serves them or they are delayed. The
statement for all others does not read them. It reads the index of queued jobs by lanes. A lane holds the jobs
of one queue, one pipeline version, one kind of next step (`needs_process`) and one head start. In the due
order of a lane, all jobs that are due stand before all that are not.
"""

from typing import Final

from headrace.domain.events.sql import event_body_sql
from headrace.domain.jobs.claim_rules import (
    HEAD_START_SQL,
    IS_IN_LANE_SQL,
    IS_SUSPECT_SQL,
    MAY_BE_CLAIMED_SQL,
    last_due_order_sql,
)
from headrace.domain.pipelines.versions import VERSION_KEY_SQL


def _first_lane_sql(served: str, condition: str = "true") -> str:
    """Return the query for the first lane of a queue and version, with the due order of its first job."""
    return f"""
        SELECT needs_process, {HEAD_START_SQL} AS head_start, due_order FROM jobs
        WHERE {MAY_BE_CLAIMED_SQL} AND queue = {served}.queue AND {VERSION_KEY_SQL} = {served}.version_key
          AND {condition}
        ORDER BY needs_process, {HEAD_START_SQL}, due_order LIMIT 1
    """  # noqa: S608  (fragments of this code base)


def _lane_jobs_sql(columns: str, first: str, last: str) -> str:
    """Return the query for the next jobs of `lane` with a due order from *first* to *last*."""
    return f"""
        SELECT {columns} FROM jobs
        WHERE {IS_IN_LANE_SQL}
          AND due_order BETWEEN {first} AND {last}
        ORDER BY due_order LIMIT kind.places
    """  # noqa: S608  (fragments of this code base)


_LAST_DUE: Final = last_due_order_sql("head_start")
_IS_LATER_LANE: Final = f"(needs_process, {HEAD_START_SQL}) > (previous.needs_process, previous.head_start)"

# $1 and $2: a queue and a `name@version` for each combination that the worker serves. These and the limit are
# read by subqueries, so that PostgreSQL plans the statement once, and not with their values at every claim.
#
# Jobs are locked as the lanes yield them, until there are enough. If several lanes have due jobs, `needed` is
# the due order up to which the lanes together have enough. The first round locks the jobs up to it. If other
# claims have locked some of these, the second round goes on behind it, lane by lane.
_DUE: Final = f"""
served AS (
    SELECT DISTINCT * FROM unnest((SELECT $1::text[]), (SELECT $2::text[])) AS pairs(queue, version_key)
), lanes AS (
    SELECT served.*, lane.* FROM served CROSS JOIN LATERAL ({_first_lane_sql("served")}) lane
    UNION ALL
    SELECT previous.queue, previous.version_key, lane.* FROM lanes previous
    CROSS JOIN LATERAL ({_first_lane_sql("previous", _IS_LATER_LANE)}) lane
), due_lanes AS (
    SELECT *, {_LAST_DUE} AS last_due FROM lanes WHERE due_order <= {_LAST_DUE}
), due AS (
    SELECT job.* FROM (VALUES (false, $3::int), (true, $6::int)) AS kind(needs_process, places)
    CROSS JOIN LATERAL (
        WITH own_lanes AS (
            SELECT * FROM due_lanes lane WHERE lane.needs_process = kind.needs_process
        ), needed AS (
            SELECT job.due_order FROM own_lanes lane
            CROSS JOIN LATERAL ({_lane_jobs_sql("due_order", "lane.due_order", "lane.last_due")}) job
            WHERE (SELECT count(*) FROM own_lanes) > 1
            ORDER BY job.due_order OFFSET kind.places - 1 LIMIT 1
        )
        SELECT job.* FROM (
            SELECT 1 AS round, own_lanes.*, due_order AS first,
                   least(last_due, (SELECT due_order FROM needed)) AS last FROM own_lanes
            UNION ALL
            SELECT 2, own_lanes.*, needed.due_order + interval '1 microsecond', last_due
            FROM own_lanes CROSS JOIN needed
            ORDER BY round, due_order
        ) lane
        CROSS JOIN LATERAL (
            {_lane_jobs_sql("id, due_order", "lane.first", "lane.last")} FOR NO KEY UPDATE SKIP LOCKED
        ) job
        LIMIT kind.places
    ) job
    WHERE kind.places > 0
    ORDER BY job.due_order LIMIT (SELECT $3::int)
)
"""  # noqa: S608  (fragments of this code base)

_DUE_SUSPECTS: Final = f"""
due AS (
    SELECT job.* FROM (VALUES (false, $3::int), (true, $6::int)) AS kind(needs_process, places)
    CROSS JOIN LATERAL (
        SELECT id, due_order FROM jobs
        WHERE state = 'queued' AND {IS_SUSPECT_SQL} AND queue = ANY($1::text[])
          AND needs_process = kind.needs_process AND run_at <= statement_timestamp()
          AND {VERSION_KEY_SQL} = ANY($2::text[])
        ORDER BY due_order LIMIT kind.places FOR NO KEY UPDATE SKIP LOCKED
    ) job
    ORDER BY job.due_order LIMIT $3
)
"""  # noqa: S608  (fragments of this code base)


_STARTED_BODY: Final = event_body_sql(attempt="attempt", worker="to_json($4::text)")


def _claim_sql(due: str) -> str:
    return f"""
WITH RECURSIVE {due}, claimed AS (
    UPDATE jobs SET
        state = 'running', attempt = attempt + 1, fence = fence + 1, write_no = 0,
        lease_owner = $4, lease_expires_at = statement_timestamp() + $5::interval,
        started_at = coalesce(started_at, statement_timestamp()),
        event_seq = event_seq + 1, updated_at = statement_timestamp()
    FROM due WHERE jobs.id = due.id
    RETURNING jobs.*
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body)
    SELECT id, event_seq, statement_timestamp(), 'job.started', ({_STARTED_BODY})::json FROM claimed
)
SELECT id, owner_id, request_id, traceparent, pipeline, version, queue, params::text AS params, attempt,
       fence, max_attempts, losses, needs_process, state, progress, event_seq AS head, log_events,
       cancel_requested_at IS NOT NULL AS cancel_requested,
       timeout_seconds - ran_seconds AS seconds_left,
       extract(epoch FROM statement_timestamp() - greatest(run_at, created_at))::float8 AS late_seconds,
       statement_timestamp() AS at, {_STARTED_BODY} AS body
FROM claimed ORDER BY due_order
"""  # noqa: S608  (fragments of this code base)


CLAIM: Final = _claim_sql(_DUE)
CLAIM_SUSPECTS: Final = _claim_sql(_DUE_SUSPECTS)
