"""How long an idle service takes to start a job: from the commit of the submission to the step.

Jobs come one after the other, with a pause in which the worker is idle again. The second figure is what a
client sees: from the answer of POST /jobs to `job.started` at a socket that it opens then.
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
    Stage,
    arguments,
    free_port,
    owner_of,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    stage,
    until,
)

from headrace.adapters.database import StatementPool
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.domain.jobs.submission.submission import JobSpec
from headrace.domain.jobs.submission.submitter import Submitter

FLOW: Final = Path(__file__).parent / "flows" / "marks.py"
PAUSE_SECONDS: Final = 0.02
KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'marks')"

_ENTERED: Final = "SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL AND pipeline = 'marks')"


def main() -> None:
    wanted = arguments(__doc__, jobs=200)
    with stage() as made:
        port = free_port()
        with processes(made, ["api", "--port", str(port)], ["worker"], HEADRACE_PIPELINES=str(FLOW)):
            asyncio.run(until(made.database_url, KNOWN))
            figures = runs_of(lambda: asyncio.run(measure(made, port, wanted.jobs)))
    report(f"start latency of an idle worker, {wanted.jobs} jobs a run", figures, wanted.json)


async def measure(made: Stage, port: int, jobs: int) -> dict[str, float]:
    entered = await commit_to_entry(made, jobs)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await ready(client)
        seen = [await answer_to_frame(client, port) for _ in range(jobs // 2)]
    return {
        "commit to step, p50 ms": statistics.median(entered),
        "commit to step, p99 ms": percentile(entered, 0.99),
        "answer to frame, p50 ms": statistics.median(seen),
        "answer to frame, p99 ms": percentile(seen, 0.99),
    }


async def commit_to_entry(made: Stage, jobs: int) -> list[float]:
    """Milliseconds from the end of the submitting statement to the step, for each job."""
    marks = made.folder / "marks"
    marks.write_bytes(bytes(8 * jobs))
    owner = await owner_of(made.database_url)
    pool = await StatementPool.open(made.database_url, size=1)
    redis = build_redis(made.redis_url)
    bell = Doorbell(redis)
    ringing = asyncio.create_task(bell.run())
    submitter = Submitter(pool)
    committed = []
    try:
        for place in range(jobs):
            order = JobSpec(pipeline="marks", params={"file": str(marks), "place": place})
            answer = await submitter.submit(owner, [order], lambda _: b"")
            committed.append(time.monotonic_ns())
            bell.ring(answer.queues)
            await asyncio.sleep(PAUSE_SECONDS)
        await until(made.database_url, _ENTERED, 30)
    finally:
        ringing.cancel()
        await close_redis(redis)
        await pool.close()
    entered = struct.unpack(f"{jobs}q", marks.read_bytes())
    return [(after - before) / 1e6 for before, after in zip(committed, entered, strict=True)]


async def answer_to_frame(client: httpx.AsyncClient, port: int) -> float:
    """Milliseconds from the answer to the frame. Where the frame is there first, the wait is nothing."""
    answer = await client.post("/api/v1/jobs", json={"pipeline": "noop"})
    answered = time.perf_counter()
    url = f"ws://127.0.0.1:{port}/api/v1/jobs/{answer.json()['id']}/ws"
    async with asyncio.timeout(10), websockets.connect(url) as socket:
        async for message in socket:
            frame: dict[str, Any] = msgspec.json.decode(message)
            if frame["type"] == "job.started":
                waited = (time.perf_counter() - answered) * 1000
                await asyncio.sleep(PAUSE_SECONDS)
                return waited
    raise RuntimeError("the job did not start")


if __name__ == "__main__":
    main()
