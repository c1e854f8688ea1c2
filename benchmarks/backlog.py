"""Measures whether a long queue or a long history slows a worker down, and whether its memory grows.

The drain rate of the same number of jobs is measured with a short queue, a long queue and a table full of
finished jobs. The memory of the worker process is read after half of the jobs and after all. Then a claim is
timed while most jobs cannot be claimed: nobody serves one half of them, the other half is delayed.

    --jobs 0            times only the claims
    --unclaimable 0     measures only the drain rates
"""

import argparse
import asyncio
import statistics
import time
from datetime import timedelta
from typing import Any, Final

import asyncpg
from common import (
    EMPTY,
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    owner_of,
    percentile,
    processes,
    report,
    rss_mib,
)

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.attempts.claims import Worker
from headrace.domain.jobs.attempts.queue import JobQueue

_CLAIMS: Final = 500
_RUNNABLE: Final = 1_000
# In due order, a job of priority 9 stands nine minutes before its run_at, so before jobs that are due.
_DELAY: Final = timedelta(minutes=8.5)

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
_FILL_WAITING: Final = """
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
                  created_at, updated_at)
SELECT gen_random_uuid(), $1, $2, 1, 'queued', '{}', '{}', 'default', n % 10, now() + $4::interval,
       now() + $4::interval - n % 10 * interval '60 seconds', least(now(), now() + $4::interval), now()
FROM generate_series(1, $3::int) n
"""
_GONE: Final = """
INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)
VALUES (gen_random_uuid(), 'gone', 1, '', '[]', '{}', now(), now())
"""
_DONE: Final = "SELECT count(*) FROM step_runs WHERE state = 'succeeded'"
_RATE: Final = """
SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))::float8 AS rate FROM (
    SELECT finished_at FROM jobs WHERE started_at IS NOT NULL AND finished_at IS NOT NULL
    ORDER BY finished_at LIMIT $1
) AS first
"""


def main() -> None:
    options = arguments(__doc__, jobs=40_000, queued=1_000_000, finished=5_000_000, unclaimable=2_000_000)
    figures: dict[str, Any] = {}
    with bench_environment() as env:
        if options.jobs:
            figures |= drain_rates(env, options)
        if options.unclaimable:
            figures |= asyncio.run(claim_times(env, options.unclaimable))
    report(f"backlog, {options.jobs:,} jobs measured", figures, options.json)


def drain_rates(env: BenchEnv, options: argparse.Namespace) -> dict[str, Any]:
    short = asyncio.run(rate(env, options.jobs, 0, 0))
    long = asyncio.run(rate(env, options.jobs, options.queued, 0))
    old = asyncio.run(rate(env, options.jobs, 0, options.finished))
    return {
        "short queue: jobs/s": short["rate"],
        f"{options.queued:,} queued: jobs/s": long["rate"],
        "long queue / short queue": long["rate"] / short["rate"],
        f"{options.finished:,} finished: jobs/s": old["rate"],
        "long history / no history": old["rate"] / short["rate"],
        "worker RSS, MiB, first half": long["half"],
        "worker RSS, MiB, at the end": long["end"],
    }


async def claim_times(env: BenchEnv, unclaimable: int) -> dict[str, float]:
    """Time claims of 1,000 jobs, beside *unclaimable* ones; each claim is handed back before the next."""
    connection = await asyncpg.connect(env.database_url)
    try:
        owner = await owner_of(env.database_url)
        await connection.execute(EMPTY)
        await connection.execute(_GONE)
        for pipeline, count, due_in in (
            ("gone", unclaimable // 2, timedelta(hours=-1)),
            ("noop", unclaimable // 2, _DELAY),
            ("noop", _RUNNABLE, timedelta(0)),
        ):
            await connection.execute(_FILL_WAITING, owner, pipeline, count, due_in, timeout=1800)
        await connection.execute("VACUUM ANALYZE jobs", timeout=1800)
        await connection.execute("CHECKPOINT", timeout=600)
    finally:
        await connection.close()
    others = [f"other@{version}" for version in range(1, 101)]
    return {
        **await claim_time(env, "claim of 1 job", ["noop@1"], 1),
        **await claim_time(env, "claim of 10 jobs", ["noop@1"], 10),
        **await claim_time(env, "claim of 1 job, 101 versions", ["noop@1", *others], 1),
        **await claim_time(env, "claim of nothing, 100 versions", others, 0),
    }


async def claim_time(env: BenchEnv, title: str, pipelines: list[str], jobs: int) -> dict[str, float]:
    pool = await StatementPool.open(env.database_url, size=1)
    worker = Worker(
        id="bench",
        queues=("default",),
        pipelines=tuple(pipelines),
        concurrency=100,
        lease=timedelta(minutes=5),
    )
    job_queue = JobQueue(pool, worker)
    times = []
    try:
        for _ in range(_CLAIMS):
            started = time.perf_counter()
            claims = await job_queue.claim(jobs or 100)
            times.append((time.perf_counter() - started) * 1000)
            if len(claims) != jobs:
                raise RuntimeError(f"{len(claims)} instead of {jobs} jobs were claimed")
            await job_queue.release([claim.lease for claim in claims])
    finally:
        await pool.close()
    return {f"{title}, p50 ms": statistics.median(times), f"{title}, p99 ms": percentile(times, 0.99)}


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
