"""Measures whether a long queue or a long history slows a worker down, and whether its memory grows.

The drain rate of the same number of jobs is measured with a short queue, a long queue and a table full of
finished jobs. The memory of the worker process is read after half of the jobs and after all.
"""

import asyncio
from typing import Any, Final

import asyncpg
from common import (
    EMPTY,
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    owner_of,
    processes,
    report,
    rss_mib,
)

# The ids rise with time, as UUIDv7 does.
_FILL: Final = """
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
                  event_seq, created_at, updated_at, finished_at)
SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
       $1, 'noop', 1, $3::text, '{}', '{}', 'default', 5, now(),
       now() - interval '300 seconds', 0, now(), now(), CASE WHEN $3::text = 'succeeded' THEN now() END
FROM generate_series(1, $2) n
"""
_DONE: Final = "SELECT count(*) FROM step_runs WHERE state = 'succeeded'"
_RATE: Final = """
SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))::float8 AS rate FROM (
    SELECT finished_at FROM jobs WHERE started_at IS NOT NULL AND finished_at IS NOT NULL
    ORDER BY finished_at LIMIT $1
) AS first
"""


def main() -> None:
    options = arguments(__doc__, jobs=40_000, queued=1_000_000, finished=5_000_000)
    figures: dict[str, Any] = {}
    with bench_environment() as env:
        short = asyncio.run(rate(env, options.jobs, 0, 0))
        long = asyncio.run(rate(env, options.jobs, options.queued, 0))
        figures["short queue: jobs/s"] = short["rate"]
        figures[f"{options.queued:,} queued: jobs/s"] = long["rate"]
        figures["long queue / short queue"] = long["rate"] / short["rate"]
        old = asyncio.run(rate(env, options.jobs, 0, options.finished))
        figures[f"{options.finished:,} finished: jobs/s"] = old["rate"]
        figures["long history / no history"] = old["rate"] / short["rate"]
        figures["worker RSS, MiB, first half"] = long["half"]
        figures["worker RSS, MiB, at the end"] = long["end"]
    report(f"backlog, {options.jobs:,} jobs measured", figures, options.json)


async def rate(env: BenchEnv, jobs: int, queued: int, finished: int) -> dict[str, float]:
    """Measure jobs per second for the first *jobs*, with *queued* more in the queue and *finished* ones."""
    connection = await asyncpg.connect(env.database_url)
    try:
        owner = await owner_of(env.database_url)
        await connection.execute(EMPTY)
        for state, count in (("succeeded", finished), ("queued", jobs + queued)):
            await connection.execute(_FILL, owner, count, state, timeout=1800)
        await connection.execute("VACUUM ANALYZE jobs", timeout=1800)
        await connection.execute("CHECKPOINT", timeout=600)
        with processes(env, ["worker", "--alone", "--concurrency", "200"]) as (worker,):
            half = await until_done(connection, jobs // 2, worker)
            end = await until_done(connection, jobs, worker)
        (row,) = await fetch(env.database_url, _RATE, jobs)
    finally:
        await connection.close()
    return {"rate": row["rate"], "half": half, "end": end}


async def until_done(connection: asyncpg.Connection, jobs: int, worker: int) -> float:
    """Wait until *jobs* are done; return the worker's memory at that time, in MiB."""
    for _ in range(6000):
        if await connection.fetchval(_DONE) >= jobs:
            return rss_mib(worker)
        await asyncio.sleep(0.25)
    raise TimeoutError(f"{jobs} jobs were not done in time")


if __name__ == "__main__":
    main()
