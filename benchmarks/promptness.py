"""How soon a cancel ends a cooperative step, how late a job with a start time starts: with Redis and without.

Both are read from the database: its clock wrote both ends.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import httpx
from common import (
    EMPTY,
    Stage,
    arguments,
    fetch,
    free_port,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    stage,
    submit_orders,
    until,
)

from headrace.domain.jobs.submission.submission import JobSpec

# So many requests at once.
_AT_ONCE: Final = 16
_SPREAD_SECONDS: Final = 5.0
chance: Final = random.Random(1)  # noqa: S311
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
    wanted = arguments(__doc__, jobs=200)
    figures: dict[str, Any] = {}
    with stage() as made:
        for title, redis in (("with Redis", {}), ("without", {"HEADRACE_REDIS_URL": ""})):
            port = free_port()
            commands = (["api", "--port", str(port)], ["worker", "--concurrency", str(wanted.jobs)])
            with processes(made, *commands, **redis):
                measured = runs_of(partial(measure, made, port, wanted.jobs))
            figures |= {f"{title}: {name}": figure for name, figure in measured.items()}
    report(f"cancels and start times, {wanted.jobs} jobs a run", figures, wanted.json)


def measure(made: Stage, port: int, jobs: int) -> dict[str, float]:
    return asyncio.run(cancels(made, port, jobs)) | asyncio.run(starts(made, jobs))


async def cancels(made: Stage, port: int, jobs: int) -> dict[str, float]:
    """Cancel running jobs at random moments of five seconds."""
    await fetch(made.database_url, EMPTY)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await ready(client)
        order = {"pipeline": "ticks", "params": {"count": 100_000, "interval_ms": 50}}
        answer = await client.post("/api/v1/jobs/batch", json={"jobs": [order] * jobs}, timeout=30)
        await until(made.database_url, _ALL_RUN, 60)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def cancel(job_id: str) -> None:
            await asyncio.sleep(chance.uniform(0, _SPREAD_SECONDS))
            async with gate:
                (await client.post(f"/api/v1/jobs/{job_id}/cancel")).raise_for_status()

        await asyncio.gather(*(cancel(job["id"]) for job in answer.json()["items"]))
    await until(made.database_url, _ALL_ENDED, 60)
    return await _figures(made, _CANCELS, jobs, "cancel to end")


async def starts(made: Stage, jobs: int) -> dict[str, float]:
    """Jobs that are due at random moments of the next five seconds, and nobody is rung for."""
    await fetch(made.database_url, EMPTY)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    orders = [
        JobSpec(
            pipeline="noop", params={}, run_at=soon + timedelta(seconds=chance.uniform(0, _SPREAD_SECONDS))
        )
        for _ in range(jobs)
    ]
    await submit_orders(made.database_url, orders)
    await until(made.database_url, _ALL_ENDED, 60)
    return await _figures(made, _STARTS, jobs, "run_at to start")


async def _figures(made: Stage, statement: str, jobs: int, what: str) -> dict[str, float]:
    seconds = [row["seconds"] for row in await fetch(made.database_url, statement)]
    if len(seconds) != jobs:
        raise RuntimeError(f"{what}: {len(seconds)} of {jobs} jobs ended as they should")
    return {
        f"{what}, p50 ms": percentile(seconds, 0.5) * 1000,
        f"{what}, p99 ms": percentile(seconds, 0.99) * 1000,
    }


if __name__ == "__main__":
    main()
