"""From a step to its watchers: how late an event and a progress frame are, for many jobs and a client each.

Every job's step logs an event and reports progress five times a second. The clients are one process on the
same cores; they are timed once all are there. Then twice more, beside clients of jobs that log
a hundred events a second: quick ones, and such as take about a message a second.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import httpx
from readers import Reader, Tally, close, connect

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import (
    Stage,
    arguments,
    free_port,
    on_uvloop,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    stage,
    until,
)

_FLOW: Final = Path(__file__).parents[1] / "flows" / "talk.py"
_KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM pipelines WHERE name = 'talk')"
_ENDED: Final = "SELECT count(*) FILTER (WHERE finished_at IS NULL) = 0 FROM jobs"
_TIMES: Final = 25
_PAUSE_SECONDS: Final = 0.2
_BUSY: Final = 5


def main() -> None:
    wanted = arguments(__doc__, jobs=100)
    with stage() as made:
        port = free_port()
        commands = (["api", "--port", str(port)], ["worker", "--concurrency", str(wanted.jobs + _BUSY)])
        with processes(made, *commands, HEADRACE_PIPELINES=str(_FLOW)):
            asyncio.run(until(made.database_url, _KNOWN))
            figures: dict[str, Any] = runs_of(lambda: on_uvloop(measure(made, port, wanted.jobs)))
    report(f"step to client, {wanted.jobs} jobs, {wanted.jobs} clients", figures, wanted.json)


async def measure(made: Stage, port: int, jobs: int) -> dict[str, float]:
    alone = await watch(made, port, jobs, is_slow=None)
    quick = await watch(made, port, jobs, is_slow=False)
    slow = await watch(made, port, jobs, is_slow=True)
    p99 = "event to client, p99 ms"
    return alone | {
        f"beside {_BUSY} quick readers: {p99}": quick[p99],
        f"beside {_BUSY} slow readers: {p99}": slow[p99],
    }


async def watch(made: Stage, port: int, jobs: int, *, is_slow: bool | None) -> dict[str, float]:
    """Time the clients of *jobs* jobs, beside others of jobs that say much: None, quick ones or slow ones."""
    events, progress = Tally(b'"type":"log"'), Tally(b'"type":"progress"')

    busy: list[Reader] = []

    def take(message: bytes) -> None:
        events.take(message)
        progress.take(message)

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        await ready(client)
        order = {"pipeline": "talk", "params": {"times": _TIMES, "pause_seconds": _PAUSE_SECONDS}}
        answer = await client.post("/api/v1/jobs/batch", json={"jobs": [order] * jobs})
        answer.raise_for_status()
        paths = [f"/api/v1/jobs/{job['id']}/ws" for job in answer.json()["items"]]
        order = {
            "pipeline": "talk",
            "params": {"times": 100 * int(_TIMES * _PAUSE_SECONDS), "pause_seconds": 0.01},
        }
        for _ in range(0 if is_slow is None else _BUSY):
            answer = await client.post("/api/v1/jobs", json=order)
            path = f"/api/v1/jobs/{answer.json()['id']}/ws"
            busy += await connect(port, [path], Crawler if is_slow else quick_reader)
        readers = await connect(port, paths, lambda path: Reader(path, take))
    try:
        await asyncio.sleep(_PAUSE_SECONDS)
        events.is_timing = progress.is_timing = True
        await until(made.database_url, _ENDED, 60)
        await asyncio.sleep(0.5)
    finally:
        close([*readers, *busy])
    if events.frames != jobs * _TIMES:
        raise RuntimeError(f"{events.frames} of {jobs * _TIMES} events came")
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
    """A client that takes what is there, and looks again a second later."""

    def __init__(self, path: str) -> None:
        super().__init__(path, self._pause)

    def _pause(self, _: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(1.0, self._go_on)

    def _go_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


if __name__ == "__main__":
    main()
