"""Draining a full queue: jobs a second from the first start to the last end, events and history on.

One job is one step that does nothing; at last five of them in a line. Also counts what a job costs in SQL
statements and Redis round trips.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import redis
from common import EMPTY, Stage, arguments, fetch, processes, report, runs_of, stage, submit, until

_FLOW: Final = Path(__file__).parent / "flows" / "lines.py"
_KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'line')"
# Two questions, since each has an index of its own: the benchmark must not load what it measures.
_LEFT: Final = """
SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND queue = 'default')
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND lease_owner > '')
"""
_RATE: Final = """
SELECT count(*) AS jobs, extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds FROM jobs
WHERE state = 'succeeded'
"""


def main() -> None:
    wanted = arguments(__doc__, jobs=20_000, concurrency=400)
    figures: dict[str, Any] = {}
    with stage() as made:
        with processes(made, ["worker"], HEADRACE_PIPELINES=str(_FLOW)):
            asyncio.run(until(made.database_url, _KNOWN))
        for title, workers, pipeline in (
            ("1 worker", 1, "noop"),
            ("2 workers", 2, "noop"),
            ("1 worker, 5 steps", 1, "line"),
        ):
            measured = runs_of(partial(drain, made, wanted.jobs, workers, wanted.concurrency, pipeline))
            figures |= {f"{title}: {name}": figure for name, figure in measured.items()}
    report(f"drain {wanted.jobs:,} jobs", figures, wanted.json)


def drain(made: Stage, jobs: int, workers: int, concurrency: int, pipeline: str) -> dict[str, float]:
    """Fill the queue, start the workers, wait until it is empty."""
    asyncio.run(prepare(made, jobs, pipeline))
    broker = redis.Redis.from_url(made.redis_url)
    before = counts(made, broker)
    commands = [["worker", "--concurrency", str(concurrency)]] * workers
    with processes(made, *commands, HEADRACE_PIPELINES=str(_FLOW)):
        asyncio.run(until(made.database_url, _LEFT))
        after = counts(made, broker)
    (row,) = asyncio.run(fetch(made.database_url, _RATE))
    if row["jobs"] != jobs:
        raise RuntimeError(f"{row['jobs']} of {jobs} jobs succeeded")
    return {
        "jobs/s": row["jobs"] / row["seconds"],
        **{name: (after[name] - before[name]) / jobs for name in after},
    }


async def prepare(made: Stage, jobs: int, pipeline: str) -> None:
    connection = await asyncpg.connect(made.database_url)
    try:
        await connection.execute(EMPTY)
        await submit(made.database_url, jobs, pipeline)
        await connection.execute("VACUUM ANALYZE jobs")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def counts(made: Stage, broker: Any) -> dict[str, int]:
    """Since the servers started. Each statement of ours is a transaction of its own."""
    (row,) = asyncio.run(
        fetch(made.database_url, "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = 'headrace'")
    )
    stats = broker.info("commandstats")
    return {
        "SQL transactions a job": row["n"],
        "Redis commands a job": sum(one["calls"] for one in stats.values()),
        "Redis reads a job": broker.info("stats")["total_reads_processed"],
    }


if __name__ == "__main__":
    main()
