"""Measures how long an idle service takes to start a job, from the commit of the submission to the step.

Jobs are submitted one after the other, with pauses in which the worker becomes idle. The second figure is the
client's view: from the response of POST /jobs to `job.started` on a socket that it opens then.
"""

import asyncio
import statistics
import struct
import time
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import websockets
from common import (
    BenchEnv,
    arguments,
    bench_environment,
    free_port,
    owner_of,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    until,
)

from headrace.adapters.database import StatementPool
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.domain.jobs.submission.submission import JobSpec
from headrace.domain.jobs.submission.submitter import Submitter

FLOW: Final = Path(__file__).parent / "flows" / "marks.py"
PAUSE_SECONDS: Final = 0.02
PROCESS_PAUSE_SECONDS: Final = 0.3
KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'marks')"

_ENTERED: Final = (
    "SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL AND pipeline LIKE 'marks%')"
)


def main() -> None:
    options = arguments(__doc__, jobs=200)
    with bench_environment() as env:
        port = free_port()
        with processes(env, ["api", "--port", str(port)], ["worker"], HEADRACE_PIPELINES=str(FLOW)):
            asyncio.run(until(env.database_url, KNOWN))
            figures = runs_of(lambda: asyncio.run(measure(env, port, options.jobs)))
    report(f"start latency of an idle worker, {options.jobs} jobs a run", figures, options.json)


async def measure(env: BenchEnv, port: int, jobs: int) -> dict[str, float]:
    entered = await commit_to_entry(env, jobs)
    in_processes = await commit_to_entry(
        env, jobs // 10, pipeline="marks_apart", pause_seconds=PROCESS_PAUSE_SECONDS
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await ready(client)
        frame_waits = [await response_to_frame(client, port) for _ in range(jobs // 2)]
    return {
        "commit to step, p50 ms": statistics.median(entered),
        "commit to step, p99 ms": percentile(entered, 0.99),
        "commit to step in a process, p50 ms": statistics.median(in_processes),
        "response to frame, p50 ms": statistics.median(frame_waits),
        "response to frame, p99 ms": percentile(frame_waits, 0.99),
    }


async def commit_to_entry(
    env: BenchEnv, jobs: int, *, pipeline: str = "marks", pause_seconds: float = PAUSE_SECONDS
) -> list[float]:
    """Return the milliseconds from the end of the submitting statement to the step, for each job."""
    marks = env.folder / "marks"
    marks.write_bytes(bytes(8 * jobs))
    owner = await owner_of(env.database_url)
    pool = await StatementPool.open(env.database_url, size=1)
    redis = build_redis(env.redis_url)
    bell = Doorbell(redis)
    bell_task = asyncio.create_task(bell.run())
    submitter = Submitter(pool)
    committed = []
    try:
        for number in range(jobs):
            spec = JobSpec(pipeline=pipeline, params={"file": str(marks), "place": number})
            result = await submitter.submit(owner, [spec], lambda _: b"")
            committed.append(time.monotonic_ns())
            bell.ring(result.queues)
            await asyncio.sleep(pause_seconds)
        await until(env.database_url, _ENTERED, 30)
    finally:
        bell_task.cancel()
        await close_redis(redis)
        await pool.close()
    entered = struct.unpack(f"{jobs}q", marks.read_bytes())
    return [(after - before) / 1e6 for before, after in zip(committed, entered, strict=True)]


async def response_to_frame(client: httpx.AsyncClient, port: int) -> float:
    """Milliseconds from the response to the frame. Where the frame is there first, the wait is nothing."""
    response = await client.post("/api/v1/jobs", json={"pipeline": "noop"})
    responded_at = time.perf_counter()
    url = f"ws://127.0.0.1:{port}/api/v1/jobs/{response.json()['id']}/ws"
    async with asyncio.timeout(10), websockets.connect(url) as socket:
        async for message in socket:
            frame: dict[str, Any] = msgspec.json.decode(message)
            if frame["type"] == "job.started":
                waited = (time.perf_counter() - responded_at) * 1000
                await asyncio.sleep(PAUSE_SECONDS)
                return waited
    raise RuntimeError("the job did not start")


if __name__ == "__main__":
    main()
