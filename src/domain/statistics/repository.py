"""Queries for the numbers of jobs. Each reads a bounded number of jobs however many there are."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from headrace.domain.database import Database
from headrace.domain.jobs.claim_rules import IS_SUSPECT_SQL, MAY_BE_CLAIMED_SQL
from headrace.domain.jobs.states import FINAL_STATES, JobState
from headrace.domain.plan_estimates import planned_rows
from headrace.domain.statistics.models import JobStatistics, Percentiles, StateCounts

MAX_COUNTED: Final = 10_000
"""Up to so many jobs a count is exact."""
MAX_MEASURED: Final = 10_000
"""So many of the newest ended jobs are measured."""

_SHARES: Final = "ARRAY[0.5, 0.95, 0.99]::float8[]"
# A later attempt has moved `run_at`, from which the first one had waited.
_LATENCY: Final = "extract(epoch FROM started_at - greatest(run_at, created_at))::float8"
_DURATION: Final = "extract(epoch FROM finished_at - started_at)::float8"

# $1: the window, $2: the pipeline or null, $3: how many jobs are read; then the owner, if any.
_ENDED: Final = f"""
WITH newest AS (
    SELECT state, pipeline, attempt, run_at, created_at, started_at, finished_at FROM jobs
    WHERE finished_at >= statement_timestamp() - $1::interval {{owner}}
    ORDER BY finished_at DESC LIMIT $3
), measured AS (
    SELECT CASE WHEN count(*) < $3 THEN extract(epoch FROM $1::interval)
                ELSE extract(epoch FROM statement_timestamp() - min(finished_at)) END::float8 AS seconds
    FROM newest
), ended AS (
    SELECT state, {_DURATION} AS duration, CASE WHEN attempt = 1 THEN greatest({_LATENCY}, 0) END AS latency
    FROM newest WHERE $2::text IS NULL OR pipeline = $2
)
SELECT statement_timestamp() AS at, (SELECT seconds FROM measured) AS seconds, count(*)::int AS ended,
       (count(*) FILTER (WHERE state = 'failed'))::int AS failed,
       percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY latency) AS latency,
       percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY duration) AS duration
FROM ended
"""  # noqa: S608  (fragments of this code base)

_COUNT: Final = "(SELECT count(*)::int FROM (SELECT 1 FROM jobs WHERE {} LIMIT $1) counted) AS {}"
# The states of one owner's jobs have an index, and so have the unfinished jobs of all users.
_OF_OWNER: Final = "SELECT " + ", ".join(
    _COUNT.format(f"owner_id = $2 AND state = '{state}'", state) for state in JobState
)
_UNFINISHED: Final = f"""
SELECT {_COUNT.format(MAY_BE_CLAIMED_SQL, "queued")},
       {_COUNT.format(f"state = 'queued' AND {IS_SUSPECT_SQL}", "suspects")},
       {_COUNT.format("state = 'running'", "running")}
"""
# Whether there are more jobs than are counted: that reads the index only, and not their rows.
_ARE_MANY: Final = "SELECT EXISTS (SELECT 1 FROM jobs WHERE {} OFFSET $1) AS are_many"
_ENDED_JOBS: Final = "finished_at IS NOT NULL"
_ENDED_STATES: Final = f"""
SELECT state, count(*)::int AS count FROM jobs WHERE {_ENDED_JOBS} GROUP BY state
"""  # noqa: S608  (fragments of this code base)
_STATES_OF_PIPELINE: Final = """
SELECT state, count(*)::int AS count FROM jobs WHERE pipeline = $1 GROUP BY state
"""
_READ_OF_PIPELINE: Final = """
SELECT state, count(*)::int AS read, (count(*) FILTER (WHERE pipeline = $2))::int AS count
FROM ({parts}) job GROUP BY state
"""


class StatisticsRepository:
    """The numbers of all jobs, or of those of one owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, owner_id: UUID | None, window: timedelta, pipeline: str | None) -> JobStatistics:
        """Return the numbers of the jobs of one owner or of all, and of one *pipeline* or of all."""
        arguments: list[Any] = [window, pipeline, MAX_MEASURED]
        statement = _ENDED.format(owner="" if owner_id is None else "AND owner_id = $4")
        (row,) = await self._database.fetch(statement, *arguments, *([] if owner_id is None else [owner_id]))
        minutes = row["seconds"] / 60
        return JobStatistics(
            at=row["at"],
            window_seconds=int(window.total_seconds()),
            measured_seconds=row["seconds"],
            pipeline=pipeline,
            counts=await self._count(owner_id, pipeline),
            ended_jobs=row["ended"],
            finished_per_minute=row["ended"] / minutes if minutes else 0.0,
            failed_per_minute=row["failed"] / minutes if minutes else 0.0,
            start_latency_seconds=_percentiles(row["latency"]),
            duration_seconds=_percentiles(row["duration"]),
        )

    async def _count(self, owner_id: UUID | None, pipeline: str | None) -> StateCounts:
        if pipeline is not None:
            counts = await self._count_of_pipeline(owner_id, pipeline)
        elif owner_id is not None:
            (row,) = await self._database.fetch(_OF_OWNER, MAX_COUNTED + 1, owner_id)
            counts = {state: row[state] for state in JobState}
        else:
            counts = await self._count_all()
        fields: dict[str, Any] = {}
        for state in JobState:
            count = counts.get(state, 0)
            if count is None or count > MAX_COUNTED:
                count = max(count or 0, await self._estimate(state, owner_id, pipeline))
                fields[f"{state}_is_estimate"] = True
            fields[state] = count
        return StateCounts(**fields)

    async def _count_all(self) -> dict[str, int | None]:
        (row,) = await self._database.fetch(_UNFINISHED, MAX_COUNTED + 1)
        counts: dict[str, int | None] = {"queued": row["queued"] + row["suspects"], "running": row["running"]}
        if await self._are_many(_ENDED_JOBS):
            return counts | dict.fromkeys(FINAL_STATES)
        ended = await self._database.fetch(_ENDED_STATES)
        return counts | {row["state"]: row["count"] for row in ended}

    async def _count_of_pipeline(self, owner_id: UUID | None, pipeline: str) -> dict[str, int | None]:
        # How many jobs others have must not show in the numbers of an owner.
        if owner_id is None and not await self._are_many("pipeline = $2", pipeline):
            rows = await self._database.fetch(_STATES_OF_PIPELINE, pipeline)
            return {row["state"]: row["count"] for row in rows}
        counts: dict[str, int | None] = dict.fromkeys(FINAL_STATES) if owner_id is None else {}
        for row in await self._database.fetch(*_read_of_pipeline(owner_id, pipeline)):
            counts[row["state"]] = row["count"] if row["read"] <= MAX_COUNTED else None
        return counts

    async def _are_many(self, condition: str, *arguments: object) -> bool:
        """Return whether more jobs meet *condition* than are counted."""
        (row,) = await self._database.fetch(_ARE_MANY.format(condition), MAX_COUNTED, *arguments)
        return bool(row["are_many"])

    async def _estimate(self, state: JobState, owner_id: UUID | None, pipeline: str | None) -> int:
        conditions, arguments = [f"state = '{state}'"], list[Any]()
        for column, value in (("owner_id", owner_id), ("pipeline", pipeline)):
            if value is not None:
                arguments.append(value)
                conditions.append(f"{column} = ${len(arguments)}")
        query = f"SELECT 1 FROM jobs WHERE {' AND '.join(conditions)}"  # noqa: S608  (names of this code base)
        return planned_rows(await self._database.fetch(f"EXPLAIN (FORMAT JSON) {query}", *arguments))


def _read_of_pipeline(owner_id: UUID | None, pipeline: str) -> Sequence[Any]:
    """Return the statement that counts a pipeline's jobs of each state, and its arguments.

    Of all users only the unfinished jobs are counted, since the others have no index.
    """
    if owner_id is None:
        conditions = [MAY_BE_CLAIMED_SQL, f"state = 'queued' AND {IS_SUSPECT_SQL}", "state = 'running'"]
    else:
        conditions = [f"owner_id = $3 AND state = '{state}'" for state in JobState]
    parts = " UNION ALL ".join(
        f"(SELECT state, pipeline FROM jobs WHERE {condition} LIMIT $1)"  # noqa: S608
        for condition in conditions
    )
    owner = [] if owner_id is None else [owner_id]
    return _READ_OF_PIPELINE.format(parts=parts), MAX_COUNTED + 1, pipeline, *owner


def _percentiles(values: Sequence[float] | None) -> Percentiles | None:
    """Return the percentiles; None if there were no jobs."""
    if not values or values[0] is None:
        return None
    p50, p95, p99 = values
    return Percentiles(p50=p50, p95=p95, p99=p99)
