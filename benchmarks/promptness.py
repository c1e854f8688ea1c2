"""Measures how soon a cancel ends a step and how late a delayed job starts, with and without Redis.

Both are read from the database, whose clock wrote both ends.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import httpx
from common import (
    EMPTY,
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    free_port,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    submit_specs,
    until,
)

from headrace.domain.jobs.submission.submission import JobSpec

_MAX_CONCURRENT_REQUESTS: Final = 16
_SPREAD_SECONDS: Final = 5.0
rng: Final = random.Random(1)  # noqa: S311
_ALL_RUN: Final = "SELECT count(*) FILTER (WHERE state = 'queued') = 0 FROM jobs"
_ALL_ENDED: Final = "SELECT count(*) FILTER (WHERE finished_at IS NULL) = 0 FROM jobs"
_CANCELS: Final = """
SELECT extract(epoch FROM finished_at - cancel_requested_at)::float8 AS seconds FROM jobs
WHERE state = 'cancelled'
"""
_STARTS: Final = """
SELECT extract(epoch FROM started_at - run_at)::float8 AS seconds FROM jobs
WHERE state = 'succeeded'
"""


def main() -> None:
    options = arguments(__doc__, jobs=200)
    figures: dict[str, Any] = {}
    with bench_environment() as env:
        for title, redis in (("with Redis", {}), ("without", {"HEADRACE_REDIS_URL": ""})):
            port = free_port()
            commands = (["api", "--port", str(port)], ["worker", "--concurrency", str(options.jobs)])
            with processes(env, *commands, **redis):
                measured = runs_of(partial(measure, env, port, options.jobs))
            figures |= {f"{title}: {name}": figure for name, figure in measured.items()}
    report(f"cancels and start times, {options.jobs} jobs a run", figures, options.json)


def measure(env: BenchEnv, port: int, jobs: int) -> dict[str, float]:
    return asyncio.run(cancels(env, port, jobs)) | asyncio.run(starts(env, jobs))


async def cancels(env: BenchEnv, port: int, jobs: int) -> dict[str, float]:
    """Cancel running jobs at random times within five seconds."""
    await fetch(env.database_url, EMPTY)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await ready(client)
        body = {"pipeline": "ticks", "params": {"count": 100_000, "interval_ms": 50}}
        response = await client.post("/api/v1/jobs/batch", json={"jobs": [body] * jobs}, timeout=30)
        await until(env.database_url, _ALL_RUN, 60)
        slots = asyncio.Semaphore(_MAX_CONCURRENT_REQUESTS)

        async def cancel(job_id: str) -> None:
            await asyncio.sleep(rng.uniform(0, _SPREAD_SECONDS))
            async with slots:
                (await client.post(f"/api/v1/jobs/{job_id}/cancel")).raise_for_status()

        await asyncio.gather(*(cancel(job["id"]) for job in response.json()["items"]))
    await until(env.database_url, _ALL_ENDED, 60)
    return await _figures(env, _CANCELS, jobs, "cancel to end")


async def starts(env: BenchEnv, jobs: int) -> dict[str, float]:
    """Submit jobs that come due at random times within five seconds, without ringing."""
    await fetch(env.database_url, EMPTY)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    specs = [
        JobSpec(pipeline="noop", params={}, run_at=soon + timedelta(seconds=rng.uniform(0, _SPREAD_SECONDS)))
        for _ in range(jobs)
    ]
    await submit_specs(env.database_url, specs)
    await until(env.database_url, _ALL_ENDED, 60)
    return await _figures(env, _STARTS, jobs, "run_at to start")


async def _figures(env: BenchEnv, statement: str, jobs: int, title: str) -> dict[str, float]:
    seconds = [row["seconds"] for row in await fetch(env.database_url, statement)]
    if len(seconds) != jobs:
        raise RuntimeError(f"{title}: {len(seconds)} of {jobs} jobs ended as they should")
    return {
        f"{title}, p50 ms": percentile(seconds, 0.5) * 1000,
        f"{title}, p99 ms": percentile(seconds, 0.99) * 1000,
    }


if __name__ == "__main__":
    main()
