"""Measures what pruning costs: a million ended jobs are pruned while jobs are submitted one by one.

Submissions go over HTTP, at a steady rate, first without and then with a worker that prunes. The report has
the latencies of both, the rate of pruning, and the longest wait for a lock, sampled every 10 ms.

With `--days`, a month of `--daily` jobs a day is simulated with a given clock: the report has the size of all
tables on each day.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
from common import (
    BenchEnv,
    bench_environment,
    fetch,
    free_port,
    on_uvloop,
    owner_of,
    percentile,
    processes,
    ready,
    report,
)

from headrace.adapters.database import StatementPool
from headrace.domain.events.partitions import create_partitions, lowest_id_at
from headrace.domain.retention.terms import ChosenTerms
from headrace.workers.maintenance.prune_pace import PrunePace
from headrace.workers.maintenance.pruner import Pruner

KEPT: Final = timedelta(days=7)
BODY: Final = {"pipeline": "noop", "params": {}}
# A job with its three versions of the past left out: the row as it ended, two rows of the log, a step run.
_FILL: Final = """
WITH ids AS (
    SELECT n, ((lpad(to_hex($2::bigint + n * $3::bigint / $4), 12, '0') || '7'
               || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15)))::uuid AS id,
           to_timestamp(($2 + n * $3 / $4) / 1000.0) AS at
    FROM generate_series($5::bigint, $6::bigint - 1) AS n
), new AS (
    INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                      due_order, attempt, fence, event_seq, created_at, updated_at, started_at, finished_at,
                      progress)
    SELECT id, $1, 'noop', 1, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'succeeded' END, '{}', '{}', 'default',
           5, at, at - interval '300 s', 1, 1, 5, at, at, at, at, 1 FROM ids
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body, earlier)
    SELECT id, 2, at, 'job.started', '{"attempt":1,"worker":"w"}'::json, NULL::json FROM ids
    UNION ALL SELECT id, 5, at, 'job.succeeded', '{"result":null}',
                     '[["step.started",{"step":"nothing"}],["step.succeeded",{"step":"nothing"}]]' FROM ids
)
INSERT INTO step_runs (job_id, key, name, state, attempt, tries, started_at, finished_at)
SELECT id, 'nothing', 'nothing', 'succeeded', 1, 1, at, at FROM ids
"""
_BATCH: Final = 20_000
_WAITS: Final = """
SELECT pid, query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
_SIZES: Final = """
SELECT sum(pg_total_relation_size(c.oid))::bigint AS bytes FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = 'headrace'::regnamespace
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs to prune [1000000]")
    parser.add_argument("--rate", type=int, default=100, help="submissions a second [100]")
    parser.add_argument("--seconds", type=int, default=30, help="of submissions without pruning [30]")
    parser.add_argument("--days", type=int, default=0, help="simulate that many days instead [0]")
    parser.add_argument("--daily", type=int, default=1_000_000, help="jobs of a simulated day [1000000]")
    options = parser.parse_args()
    with bench_environment() as env:
        if options.days:
            figures = on_uvloop(simulate(env, options.days, options.daily))
            report(f"{options.days} simulated days of {options.daily:,} jobs", figures, options.json)
            return
        figures = on_uvloop(measure(env, options.jobs, options.rate, options.seconds))
    report(f"prune {options.jobs:,} jobs beside {options.rate} submissions/s", figures, options.json)


async def fill(database_url: str, owner: UUID, start: datetime, span: timedelta, count: int) -> None:
    """Store ended jobs that are spread evenly over *span*."""
    connection = await asyncpg.connect(database_url)
    try:
        for first in range(0, count, _BATCH):
            await connection.execute(
                _FILL,
                owner,
                int(start.timestamp() * 1000),
                int(span.total_seconds() * 1000),
                count,
                first,
                min(first + _BATCH, count),
            )
    finally:
        await connection.close()


async def measure(env: BenchEnv, jobs: int, rate: int, seconds: int) -> dict[str, Any]:
    owner = await owner_of(env.database_url)
    start = datetime.now(UTC) - timedelta(days=100)
    pool = await StatementPool.open(env.database_url, size=1, answer_seconds=60)
    for month in range(4):
        await create_partitions(pool, start + timedelta(days=30 * month))
    await pool.close()
    await fill(env.database_url, owner, start, timedelta(days=1), jobs)
    await fetch(env.database_url, "VACUUM ANALYZE")
    await fetch(env.database_url, "CHECKPOINT")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    forever = {f"HEADRACE_KEEP_{kind}": "forever" for kind in ("SUCCEEDED", "FAILED", "CANCELLED")}
    with processes(env, ["api", "--port", str(port)]):
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            with processes(env, ["worker"], **forever):
                await ready(client)
                await submitting(client, rate, 2)
                before, _ = await watched(env, submitting(client, rate, seconds))
            with processes(env, ["worker"]):
                await ready(client)
                began = time.perf_counter()
                during, longest_wait = await watched(env, until_pruned(env, client, rate))
                took = time.perf_counter() - began
    return {
        "submit p50 ms, without": percentile(before, 0.5) * 1000,
        "submit p50 ms, pruning": percentile(during, 0.5) * 1000,
        "submit p99 ms, without": percentile(before, 0.99) * 1000,
        "submit p99 ms, pruning": percentile(during, 0.99) * 1000,
        "p99 pruning / without": percentile(during, 0.99) / percentile(before, 0.99),
        "longest wait for a lock, ms": longest_wait * 1000,
        "seconds until all are pruned": took,
        "jobs pruned a second": jobs / took,
        "submissions while pruning": len(during),
    }


async def until_pruned(env: BenchEnv, client: httpx.AsyncClient, rate: int) -> list[float]:
    """Submit until no job of the past is left."""
    latencies: list[float] = []
    for _ in range(1_000):
        latencies += await submitting(client, rate, 5)
        rows = await fetch(
            env.database_url, "SELECT EXISTS (SELECT FROM jobs WHERE id < $1) AS left", old_ids_end()
        )
        if not rows[0]["left"]:
            return latencies
    raise TimeoutError("the jobs are not pruned")


def old_ids_end() -> UUID:
    """Return an id between those of the past and those that are submitted now."""
    return lowest_id_at(datetime.now(UTC) - timedelta(days=50))


async def submitting(client: httpx.AsyncClient, rate: int, seconds: float) -> list[float]:
    """Submit *rate* jobs a second, each when it is due, and return how long each took since then."""
    count = int(rate * seconds)
    began = time.perf_counter()

    async def submit_one(number: int) -> float:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        response = await client.post("/api/v1/jobs", json=BODY)
        if response.status_code != 202:
            raise RuntimeError(response.text)
        return time.perf_counter() - due

    return list(await asyncio.gather(*map(submit_one, range(count))))


async def watched(env: BenchEnv, work: Any) -> tuple[list[float], float]:
    """Run *work*; return its result, and the longest time for which a statement waited for a lock."""
    async with lock_waits(env.database_url) as longest:
        result = await work
    return result, max(longest, default=0.0)


@asynccontextmanager
async def lock_waits(database_url: str) -> AsyncIterator[list[float]]:
    """Sample every 10 ms who waits for a lock, and for how long without a pause."""
    waits: list[float] = []
    connection = await asyncpg.connect(database_url)

    async def sample() -> None:
        since: dict[tuple[int, Any], float] = {}
        while True:
            now = time.perf_counter()
            waiting = {(row["pid"], row["query_start"]) for row in await connection.fetch(_WAITS)}
            since = {key: since.get(key, now) for key in waiting}
            # A wait that was seen once has lasted up to two pauses between samples.
            waits.extend(now - started + 0.01 for started in since.values())
            await asyncio.sleep(0.01)

    task = asyncio.create_task(sample())
    try:
        yield waits
    finally:
        task.cancel()
        await asyncio.wait([task])
        await connection.close()


async def simulate(env: BenchEnv, days: int, daily: int) -> dict[str, Any]:
    """Store the jobs of each day and prune at its end; return the size of all tables for each day."""
    owner = await owner_of(env.database_url)
    pool = await StatementPool.open(env.database_url, size=1, answer_seconds=300)
    start = datetime(2030, 3, 11, tzinfo=UTC)
    sizes: dict[str, Any] = {}
    try:
        for day in range(days):
            today = start + timedelta(days=day)
            await create_partitions(pool, today)
            await fill(env.database_url, owner, today, timedelta(days=1), daily)
            began = time.perf_counter()
            removed = await prune_at(pool, today + timedelta(days=1))
            took = time.perf_counter() - began
            await fetch(env.database_url, "VACUUM")
            (row,) = await fetch(env.database_url, _SIZES)
            sizes[f"day {day + 1}: MB"] = round(row["bytes"] / 1e6)
            print(
                f"day {day + 1}: {row['bytes'] / 1e6:,.0f} MB, {removed:,} pruned in {took:.0f} s", flush=True
            )
    finally:
        await pool.close()
    flat = [size for name, size in sizes.items() if int(name[4:].split(":")[0]) >= 8]
    if flat:
        sizes["largest / smallest from day 8 on"] = max(flat) / min(flat)
    return sizes


async def prune_at(pool: StatementPool, now: datetime) -> int:
    """Prune as if it were *now*, without pauses; return the number of jobs."""

    async def at() -> datetime:
        return now

    async def skip(_: float) -> None:
        """Do not sleep."""

    chosen = ChosenTerms(succeeded=KEPT, failed=KEPT, cancelled=KEPT)
    pruner = Pruner(pool, chosen, "bench", pace=PrunePace(), now=at, sleep=skip)
    removed = await pruner.run_now({"jobs", "event_partitions"})
    if removed is None or pruner.failures:
        raise RuntimeError(f"not pruned: {pruner.failures}")
    return removed["jobs"]


if __name__ == "__main__":
    main()
