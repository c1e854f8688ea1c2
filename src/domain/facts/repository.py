"""Counts jobs, workers and bytes in PostgreSQL, at a cost that does not grow with the number of jobs.

Queued jobs are counted in their index, lane by lane (see `claim_sql`) and up to a limit. The others are
counted in a sample of the table's pages, which is the whole table while that is small. The pages of a sample
are the same each time, so that estimates do not jump.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from headrace.domain.database import Database, Row
from headrace.domain.facts.models import DatabaseFacts, Lane, Sample
from headrace.domain.facts.summary import QueueFacts, count_jobs, with_estimates
from headrace.domain.jobs.claim_rules import (
    HEAD_START_SQL,
    IS_IN_LANE_SQL,
    IS_SUSPECT_SQL,
    LANE_KEY_SQL,
    MAY_BE_CLAIMED_SQL,
    SUSPECT_LOSSES,
    last_due_order_sql,
)
from headrace.domain.pipelines.versions import VERSION_KEY_SQL
from headrace.domain.workers.directory import MAX_RUNNING, WorkerDirectory

MAX_LANES: Final = 2_000
# Each is read from the table, since the index has an expression.
_MAX_COUNTED: Final = 40_000
_MAX_COUNTED_OF_LANE: Final = 10_000
_MIN_COUNTED_OF_LANE: Final = 20
_MAX_SUSPECTS: Final = 10_000
SAMPLED_PAGES: Final = 4_000
# The first in the due order is the oldest, unless jobs with other priorities were submitted within minutes.
_OLDEST_AMONG: Final = 100

TABLES: Final = (
    "api_keys",
    "audit_entries",
    "blob_removals",
    "chore_failures",
    "chores",
    "files",
    "idempotency_keys",
    "identities",
    "installations",
    "job_changes",
    "job_quotas",
    "job_tags",
    "jobs",
    "login_attempts",
    "login_sessions",
    "pipelines",
    "preset_tags",
    "presets",
    "step_runs",
    "tags",
    "transactional_keys",
    "transactional_submissions",
    "users",
    "workers",
)
"""The tables of the service; others in its schema are not measured."""

_LANE: Final = f"queue, {VERSION_KEY_SQL} AS version_key, needs_process, {HEAD_START_SQL} AS head_start"
_LANE_COLUMNS: Final = ("queue", "version_key", "needs_process", "head_start")
_IS_LATER: Final = f"""({LANE_KEY_SQL}) >
    (previous.queue, previous.version_key, previous.needs_process, previous.head_start)"""


def _first_lane(condition: str) -> str:
    return f"""
        SELECT {_LANE} FROM jobs WHERE {MAY_BE_CLAIMED_SQL} AND {condition} ORDER BY {LANE_KEY_SQL} LIMIT 1
    """  # noqa: S608  (fragments of this code base)


_LANES: Final = f"""
WITH RECURSIVE lanes AS (
    ({_first_lane("true")})
    UNION ALL
    SELECT lane.* FROM lanes previous CROSS JOIN LATERAL ({_first_lane(_IS_LATER)}) lane
)
SELECT * FROM lanes LIMIT $1
"""  # noqa: S608  (fragments of this code base)
# $2: the names of the queues, whose first lanes come first.
_SERVED_LANES: Final = f"""
WITH RECURSIVE lanes AS (
    SELECT lane.* FROM unnest($2::text[]) AS served(name)
    CROSS JOIN LATERAL ({_first_lane("queue = served.name")}) lane
    UNION ALL
    SELECT lane.* FROM lanes previous
    CROSS JOIN LATERAL ({_first_lane(f"queue = previous.queue AND {_IS_LATER}")}) lane
)
SELECT * FROM lanes LIMIT $1
"""  # noqa: S608  (fragments of this code base)

_IN_LANE: Final = f"""
    FROM jobs WHERE {IS_IN_LANE_SQL} AND due_order
"""
_LAST_DUE: Final = last_due_order_sql("lane.head_start")
_LANE_COUNTS: Final = f"""
SELECT lane.queue, lane.version_key, lane.needs_process, due.count AS due, later.count AS later,
       extract(epoch FROM statement_timestamp() - oldest.at)::float8 AS oldest_due_seconds
FROM unnest($1::text[], $2::text[], $3::boolean[], $4::int[])
    AS lane(queue, version_key, needs_process, head_start)
CROSS JOIN LATERAL (SELECT count(*) FROM (SELECT {_IN_LANE} <= {_LAST_DUE} LIMIT $5) first) due
CROSS JOIN LATERAL (SELECT count(*) FROM (SELECT {_IN_LANE} > {_LAST_DUE} LIMIT $5) first) later
CROSS JOIN LATERAL (
    SELECT min(greatest(run_at, created_at)) AS at
    FROM (SELECT run_at, created_at {_IN_LANE} <= {_LAST_DUE} ORDER BY due_order LIMIT $6) first
) oldest
"""  # noqa: S608  (fragments of this code base)
_SUSPECTS: Final = f"""
SELECT queue, version_key, needs_process,
       count(*) FILTER (WHERE run_at <= statement_timestamp()) AS due,
       count(*) FILTER (WHERE run_at > statement_timestamp()) AS later,
       extract(epoch FROM statement_timestamp() - min(greatest(run_at, created_at))
           FILTER (WHERE run_at <= statement_timestamp()))::float8 AS oldest_due_seconds
FROM (
    SELECT queue, {VERSION_KEY_SQL} AS version_key, needs_process, run_at, created_at FROM jobs
    WHERE state = 'queued' AND {IS_SUSPECT_SQL} LIMIT $1
) suspects GROUP BY queue, version_key, needs_process
"""  # noqa: S608  (fragments of this code base)
_BACKING_OFF: Final = """
SELECT count(*) FILTER (WHERE run_at > statement_timestamp()) AS count
FROM (SELECT run_at FROM jobs WHERE state = 'queued' AND attempt > 0 LIMIT $1) tried
"""
_RUNNING: Final = """
SELECT pipeline, count(*) AS count
FROM (SELECT pipeline FROM jobs WHERE state = 'running' AND lease_owner > '' LIMIT $1) running
GROUP BY pipeline
"""
_PAGES: Final = """
SELECT (pg_relation_size('jobs') / current_setting('block_size')::int)::int AS pages
"""
_SAMPLE: Final = """
SELECT state, pipeline, queue, count(*) AS count
FROM jobs TABLESAMPLE SYSTEM ($1::float4) REPEATABLE (1) GROUP BY state, pipeline, queue
"""
_TABLE_BYTES: Final = """
SELECT relname::text AS name, CASE WHEN relkind = 'p'
    THEN (SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits WHERE inhparent = c.oid)
    ELSE pg_total_relation_size(c.oid) END::int8 AS bytes
FROM pg_class c
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname = ANY($1::text[])
"""
_CONNECTIONS: Final = """
SELECT sum(numbackends)::int AS used, current_setting('max_connections')::int AS most FROM pg_stat_database
"""


class FactsRepository:
    """Every call of the database is one statement with a bound on what it reads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._directory = WorkerDirectory(database)

    async def fetch(self) -> DatabaseFacts:
        """Count everything, in statements one after another."""
        samples = await self.fetch_samples()
        serving = await self._directory.fetch_serving()
        served = {queue for worker in serving for queue in worker.queues}
        lanes = with_estimates(await self.fetch_lanes(served), samples)
        (backing_off,) = await self._database.fetch(_BACKING_OFF, _MAX_COUNTED_OF_LANE)
        queues = QueueFacts(lanes, serving, backing_off=backing_off["count"])
        running = await self._database.fetch(_RUNNING, MAX_RUNNING)
        tables = await self._database.fetch(_TABLE_BYTES, list(TABLES))
        (connections,) = await self._database.fetch(_CONNECTIONS)
        return DatabaseFacts(
            jobs=count_jobs(
                samples, queued=queues.queued, running={row["pipeline"]: row["count"] for row in running}
            ),
            due=dict(queues.due),
            oldest_due_seconds=queues.oldest_due_seconds,
            waiting=dict(queues.waiting),
            unserved=dict(queues.unserved),
            workers=dict(queues.workers),
            table_bytes={row["name"]: row["bytes"] for row in tables},
            connections=connections["used"],
            max_connections=connections["most"],
        )

    async def fetch_lanes(self, served: Collection[str] = ()) -> list[Lane]:
        """Count the queued jobs of each lane, up to a limit that is lower the more lanes there are.

        Lanes of *served* queues go first, so that those of queues that users invent do not displace them.
        """
        lanes = await self._find_lanes(served)
        share = _MAX_COUNTED // max(len(lanes), 1)
        limit = min(max(share, _MIN_COUNTED_OF_LANE), _MAX_COUNTED_OF_LANE)
        columns: list[list[Any]] = [[lane[place] for lane in lanes] for place in range(len(_LANE_COLUMNS))]
        counted = await self._database.fetch(_LANE_COUNTS, *columns, limit, _OLDEST_AMONG) if lanes else ()
        suspects = await self._database.fetch(_SUSPECTS, _MAX_SUSPECTS)
        return [
            *(_lane(row, limit) for row in counted),
            *(_lane(row, _MAX_SUSPECTS, losses=SUSPECT_LOSSES) for row in suspects),
        ]

    async def _find_lanes(self, served: Collection[str]) -> list[tuple[Any, ...]]:
        """Return the keys of `MAX_LANES` lanes at most, among them one of each served queue that has jobs."""
        most = max(MAX_LANES, len(served))
        rows = [
            *await self._database.fetch(_SERVED_LANES, most, sorted(served)),
            *await self._database.fetch(_LANES, MAX_LANES),
        ]
        lanes = dict.fromkeys(tuple(row[name] for name in _LANE_COLUMNS) for row in rows)
        return list(lanes)[:most]

    async def fetch_samples(self, pages: int = SAMPLED_PAGES) -> Sequence[Sample]:
        """Count the jobs on about that many *pages* of the table, and scale the counts up."""
        (size,) = await self._database.fetch(_PAGES)
        share = min(pages / max(size["pages"], 1), 1.0)
        rows = await self._database.fetch(_SAMPLE, share * 100)
        return [
            Sample(row["state"], row["pipeline"], row["queue"], round(row["count"] / share)) for row in rows
        ]


def _lane(row: Row, limit: int, *, losses: int = 0) -> Lane:
    pipeline, _, version = str(row["version_key"]).rpartition("@")
    return Lane(
        queue=row["queue"],
        pipeline=pipeline,
        version=int(version),
        needs_process=row["needs_process"],
        due=row["due"],
        later=row["later"],
        limit=limit,
        oldest_due_seconds=row["oldest_due_seconds"],
        losses=losses,
    )
