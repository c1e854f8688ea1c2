"""The statements about queues. They read bounded parts of the index of queued jobs: see `claim_sql`."""

from typing import Final

from headrace.domain.jobs.claim_rules import (
    HEAD_START_SQL,
    IS_IN_LANE_SQL,
    IS_SUSPECT_SQL,
    LANE_KEY_SQL,
    MAY_BE_CLAIMED_SQL,
    last_due_order_sql,
)
from headrace.domain.pipelines.versions import VERSION_KEY_SQL

MAX_LANES: Final = 1_000
"""So many lanes of a queue are read. There are more only if users delay jobs of each priority for each of 50
versions."""

_SUSPECTS: Final = f"state = 'queued' AND {IS_SUSPECT_SQL}"
_NOW: Final = "statement_timestamp()"
_DUE_AT: Final = "greatest(run_at, created_at)"
_LANE: Final = f"({VERSION_KEY_SQL}, needs_process, {HEAD_START_SQL})"
_LAST_DUE: Final = last_due_order_sql("lane.head_start")


_IS_DUE_SOON: Final = f"due_order > {_LAST_DUE} AND due_order <= {_LAST_DUE} + interval '1 minute'"


def _first_lane(condition: str) -> str:
    return f"""
        SELECT queue, {VERSION_KEY_SQL} AS version_key, needs_process, {HEAD_START_SQL} AS head_start,
               due_order
        FROM jobs WHERE {MAY_BE_CLAIMED_SQL} AND {condition}
        ORDER BY {LANE_KEY_SQL}, due_order LIMIT 1
    """  # noqa: S608  (fragments of this code base)


_LATER: Final = f"""queue = previous.queue
    AND {_LANE} > (previous.version_key, previous.needs_process, previous.head_start)"""

# $1: the names of the queues.
_LANES: Final = f"""
lanes AS (
    SELECT lane.*, 1 AS place FROM unnest($1::text[]) AS asked(name)
    CROSS JOIN LATERAL ({_first_lane("queue = asked.name")}) lane
    UNION ALL
    SELECT lane.*, previous.place + 1 FROM lanes previous
    CROSS JOIN LATERAL ({_first_lane(_LATER)}) lane WHERE previous.place < {MAX_LANES}
)"""  # noqa: S608  (fragments of this code base)


def _oldest(limit: str) -> str:
    """Return the query for the queues of `lanes`, each with the time since when its oldest job is due.

    A job with a high priority stands minutes before its time in due order, so the oldest job of a lane need
    not be the first. It stands before the time of the first, which is at most ten levels of priority later.
    """
    return f"""
        SELECT lane.queue, min(next.due_at) AS due_at FROM lanes lane
        CROSS JOIN LATERAL (
            SELECT {_DUE_AT} AS due_at FROM jobs
            WHERE {IS_IN_LANE_SQL} AND due_order <= least({_LAST_DUE}, lane.due_order + interval '10 minutes')
            ORDER BY due_order LIMIT {limit}
        ) next WHERE next.due_at <= {_NOW} GROUP BY lane.queue
        UNION ALL
        SELECT queue, min({_DUE_AT}) FROM jobs
        WHERE {_SUSPECTS} AND queue = ANY($1::text[]) AND run_at <= {_NOW} GROUP BY queue
    """  # noqa: S608  (fragments of this code base)


def _count_in_lanes(condition: str, limit: str) -> str:
    """Return the query that counts the jobs of `lanes` that meet *condition*, up to *limit*."""
    return f"""
        SELECT count(*)::int FROM (
            SELECT 1 FROM lanes lane CROSS JOIN LATERAL (
                SELECT 1 FROM jobs WHERE {IS_IN_LANE_SQL} AND {condition} LIMIT {limit}
            ) job LIMIT {limit}
        ) counted
    """  # noqa: S608  (fragments of this code base)


def _count(condition: str, limit: str) -> str:
    return f"SELECT count(*)::int FROM (SELECT 1 FROM jobs WHERE {condition} LIMIT {limit}) counted"  # noqa: S608


# $1: the greatest number of names.
NAMES: Final = f"""
WITH RECURSIVE names AS (
    (SELECT queue, 1 AS place FROM jobs WHERE {MAY_BE_CLAIMED_SQL} ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT later.queue, names.place + 1 FROM names CROSS JOIN LATERAL (
        SELECT queue FROM jobs WHERE {MAY_BE_CLAIMED_SQL} AND queue > names.queue ORDER BY queue LIMIT 1
    ) later WHERE names.place < $1
)
SELECT queue FROM names
UNION SELECT queue FROM (SELECT queue FROM jobs WHERE {_SUSPECTS} LIMIT $1) suspects
"""  # noqa: S608  (fragments of this code base)

# $2: how many jobs of each queue are counted, $3: among how many of each lane the oldest is looked for.
QUEUED: Final = f"""
WITH RECURSIVE {_LANES}, oldest AS (
    SELECT queue, min(due_at) AS due_at FROM ({_oldest("$3")}) each_lane GROUP BY queue
)
SELECT asked.name, oldest.due_at AS oldest_due_at,
       ({_count(f"{MAY_BE_CLAIMED_SQL} AND queue = asked.name", "$2")}) AS claimable,
       ({_count(f"{_SUSPECTS} AND queue = asked.name", "$2")}) AS suspects
FROM unnest($1::text[]) AS asked(name) LEFT JOIN oldest ON oldest.queue = asked.name
"""  # noqa: S608  (fragments of this code base)

# $1, $2 and $3 as above, $4: how many running jobs of all queues are read.
SCALING: Final = f"""
WITH RECURSIVE {_LANES}
SELECT ({_count_in_lanes(f"due_order <= {_LAST_DUE}", "$2")}) AS due,
       ({_count(f"{_SUSPECTS} AND queue = ANY($1::text[]) AND run_at <= {_NOW}", "$2")}) AS suspects,
       ({_count_in_lanes(_IS_DUE_SOON, "$2")}) AS due_soon,
       (SELECT count(*)::int FROM (SELECT queue FROM jobs WHERE state = 'running' LIMIT $4) running
        WHERE queue = ANY($1::text[])) AS running,
       coalesce(extract(epoch FROM {_NOW} - (SELECT min(due_at) FROM ({_oldest("$3")}) oldest)), 0)::float8
           AS oldest_due_seconds
"""  # noqa: S608  (fragments of this code base)

# $1 as above, $2: how many jobs are counted.
DELAYED: Final = f"""
WITH RECURSIVE {_LANES} SELECT ({_count_in_lanes(f"due_order > {_LAST_DUE}", "$2")}) AS delayed
"""

# $1: the owner, $2: how many jobs are read, the oldest ones.
QUEUED_OF_OWNER: Final = f"""
SELECT queue AS name, count(*)::int AS queued,
       min({_DUE_AT}) FILTER (WHERE run_at <= {_NOW}) AS oldest_due_at
FROM (
    SELECT queue, run_at, created_at FROM jobs WHERE owner_id = $1 AND state = 'queued'
    ORDER BY created_at, id LIMIT $2
) oldest GROUP BY queue
"""  # noqa: S608  (fragments of this code base)

# $1: the owner, or null for all jobs. $2: how many jobs are read.
RUNNING: Final = """
SELECT queue AS name, count(*)::int AS running FROM (
    SELECT queue FROM jobs WHERE state = 'running' AND ($1::uuid IS NULL OR owner_id = $1) LIMIT $2
) running GROUP BY queue
"""

ESTIMATE: Final = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM jobs WHERE {MAY_BE_CLAIMED_SQL} AND queue = $1"  # noqa: S608
# The planner knows the times of all jobs, not those of queued ones; but hardly any other job has one ahead.
ESTIMATE_OF_DELAYED: Final = f"""
EXPLAIN (FORMAT JSON) SELECT 1 FROM jobs WHERE queue = $1 AND run_at > {_NOW}
"""  # noqa: S608  (fragments of this code base)
ESTIMATE_OF_OWNER: Final = """
EXPLAIN (FORMAT JSON) SELECT 1 FROM jobs WHERE owner_id = $1 AND state = 'queued'
"""
