"""Drains a full queue: measures jobs per second from the first start to the last end, with events.

A job has one step that does nothing; the last case has five in a row. The first case is a database whose
tables were never analysed, as in the first minutes of an installation. It also counts the SQL statements, the
Redis round trips, the processor time and the WAL per job. Processor time is steadier than the rate on a
machine that others use; what the workers need to start is not in it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import redis
from common import (
    EMPTY,
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    processes,
    report,
    runs_of,
    submit,
    until,
)
from costs import read_costs

_NEVER_ANALYSED: Final = "1 worker, tables never analysed"
_FLOW: Final = Path(__file__).parent / "flows" / "lines.py"
_KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'line')"
# Two subqueries, since each has its own index: the benchmark must not load the database.
_LEFT: Final = """
SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND queue = 'default')
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND lease_owner > '')
"""
_HAS_BEGUN: Final = "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'succeeded')"
_RATE: Final = """
SELECT count(*) AS jobs, extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds FROM jobs
WHERE state = 'succeeded'
"""


def main() -> None:
    options = arguments(__doc__, jobs=20_000, concurrency=400)
    figures: dict[str, Any] = {}
    with bench_environment() as env:
        with processes(env, ["worker"], HEADRACE_PIPELINES=str(_FLOW)):
            asyncio.run(until(env.database_url, _KNOWN))
        for title, workers, pipeline, is_analysed in (
            (_NEVER_ANALYSED, 1, "noop", False),
            ("1 worker", 1, "noop", True),
            ("2 workers", 2, "noop", True),
            ("1 worker, 5 steps", 1, "line", True),
        ):
            run = partial(drain, env, options.jobs, workers, options.concurrency, pipeline, is_analysed)
            measured = runs_of(run)
            figures |= {f"{title}: {name}": figure for name, figure in measured.items()}
    never, analysed = (figures[f"{title}: jobs/s"]["median"] for title in (_NEVER_ANALYSED, "1 worker"))
    figures["never analysed / analysed"] = never / analysed
    report(f"drain {options.jobs:,} jobs", figures, options.json)


def drain(
    env: BenchEnv,
    jobs: int,
    workers: int,
    concurrency: int,
    pipeline: str,
    is_analysed: bool = True,
    *,
    options: Sequence[str] = (),
) -> dict[str, float]:
    """Fill the queue, start the workers with *options*, and wait until the queue is empty."""
    asyncio.run(prepare(env, jobs, pipeline, is_analysed))
    broker = redis.Redis.from_url(env.redis_url)
    before = counts(env, broker)
    commands = [["worker", "--concurrency", str(concurrency), *options]] * workers
    with processes(env, *commands, HEADRACE_PIPELINES=str(_FLOW)) as pids:
        asyncio.run(until(env.database_url, _HAS_BEGUN))
        costs_before = asyncio.run(read_costs(env, pids))
        asyncio.run(until(env.database_url, _LEFT))
        costs = asyncio.run(read_costs(env, pids))
        after = counts(env, broker)
    (row,) = asyncio.run(fetch(env.database_url, _RATE))
    if row["jobs"] != jobs:
        raise RuntimeError(f"{row['jobs']} of {jobs} jobs succeeded")
    return {
        "jobs/s": row["jobs"] / row["seconds"],
        **costs.per_job(costs_before),
        **{name: (after[name] - before[name]) / jobs for name in after},
    }


async def prepare(env: BenchEnv, jobs: int, pipeline: str, is_analysed: bool) -> None:
    connection = await asyncpg.connect(env.database_url)
    try:
        await connection.execute(EMPTY)
        await submit(env.database_url, jobs, pipeline)
        autovacuum = "on" if is_analysed else "off"
        for table in ("jobs", "step_runs"):
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = {autovacuum})")
        if is_analysed:
            await connection.execute("VACUUM ANALYZE jobs")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def counts(env: BenchEnv, broker: Any) -> dict[str, int]:
    """Return the counters since the servers started. Each statement of Headrace is one transaction."""
    (row,) = asyncio.run(
        fetch(env.database_url, "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = 'headrace'")
    )
    stats = broker.info("commandstats")
    return {
        "SQL transactions a job": row["n"],
        "Redis commands a job": sum(command["calls"] for command in stats.values()),
        "Redis reads a job": broker.info("stats")["total_reads_processed"],
    }


if __name__ == "__main__":
    main()
