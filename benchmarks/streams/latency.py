"""Measures the delay of events and progress frames from a step to its client, for many jobs.

Each step logs an event and reports progress five times a second. All clients are one process on the same
cores; the measurement starts when all are connected. Two more runs add clients of jobs that log a hundred
events a second: fast readers, and readers that on_message about one message a second.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import httpx
from readers import Reader, Tally, close, connect

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import (
    BenchEnv,
    arguments,
    bench_environment,
    free_port,
    on_uvloop,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    until,
)

_FLOW: Final = Path(__file__).parents[1] / "flows" / "talk.py"
_KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'talk')"
_ENDED: Final = "SELECT count(*) FILTER (WHERE finished_at IS NULL) = 0 FROM jobs"
_REPORTS: Final = 25
_PAUSE_SECONDS: Final = 0.2
_BUSY_JOBS: Final = 5


def main() -> None:
    options = arguments(__doc__, jobs=100)
    with bench_environment() as env:
        port = free_port()
        commands = (["api", "--port", str(port)], ["worker", "--concurrency", str(options.jobs + _BUSY_JOBS)])
        with processes(env, *commands, HEADRACE_PIPELINES=str(_FLOW)):
            asyncio.run(until(env.database_url, _KNOWN))
            figures: dict[str, Any] = runs_of(lambda: on_uvloop(measure(env, port, options.jobs)))
    report(f"step to client, {options.jobs} jobs, {options.jobs} clients", figures, options.json)


async def measure(env: BenchEnv, port: int, jobs: int) -> dict[str, float]:
    alone = await watch(env, port, jobs, is_slow=None)
    quick = await watch(env, port, jobs, is_slow=False)
    slow = await watch(env, port, jobs, is_slow=True)
    p99 = "event to client, p99 ms"
    return alone | {
        f"beside {_BUSY_JOBS} quick readers: {p99}": quick[p99],
        f"beside {_BUSY_JOBS} slow readers: {p99}": slow[p99],
    }


async def watch(env: BenchEnv, port: int, jobs: int, *, is_slow: bool | None) -> dict[str, float]:
    """Time the clients of *jobs* jobs. *is_slow* adds slow or fast readers of busy jobs; None adds none."""
    events, progress = Tally(b'"type":"log"'), Tally(b'"type":"progress"')

    busy: list[Reader] = []

    def on_message(message: bytes) -> None:
        events.take(message)
        progress.take(message)

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        await ready(client)
        body = {"pipeline": "talk", "params": {"times": _REPORTS, "pause_seconds": _PAUSE_SECONDS}}
        response = await client.post("/api/v1/jobs/batch", json={"jobs": [body] * jobs})
        response.raise_for_status()
        paths = [f"/api/v1/jobs/{job['id']}/ws" for job in response.json()["items"]]
        body = {
            "pipeline": "talk",
            "params": {"times": 100 * int(_REPORTS * _PAUSE_SECONDS), "pause_seconds": 0.01},
        }
        for _ in range(0 if is_slow is None else _BUSY_JOBS):
            response = await client.post("/api/v1/jobs", json=body)
            path = f"/api/v1/jobs/{response.json()['id']}/ws"
            busy += await connect(port, [path], Crawler if is_slow else quick_reader)
        readers = await connect(port, paths, lambda path: Reader(path, on_message))
    try:
        await asyncio.sleep(_PAUSE_SECONDS)
        events.is_timing = progress.is_timing = True
        await until(env.database_url, _ENDED, 60)
        await asyncio.sleep(0.5)
    finally:
        close([*readers, *busy])
    if events.frames != jobs * _REPORTS:
        raise RuntimeError(f"{events.frames} of {jobs * _REPORTS} events came")
    return {
        "event to client, p50 ms": percentile(events.late, 0.5),
        "event to client, p99 ms": percentile(events.late, 0.99),
        "progress to client, p50 ms": percentile(progress.late, 0.5),
        "progress to client, p99 ms": percentile(progress.late, 0.99),
        "progress frames": progress.frames,
    }


def quick_reader(path: str) -> Reader:
    return Reader(path, lambda _: None)


class Crawler(Reader):
    """A client that reads its buffer and then pauses for a second."""

    def __init__(self, path: str) -> None:
        super().__init__(path, self._pause)

    def _pause(self, _: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(1.0, self._resume)

    def _resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


if __name__ == "__main__":
    main()
