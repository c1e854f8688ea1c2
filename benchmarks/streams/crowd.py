"""Thousands of sockets in one API process: what an idle one costs, and how all come back after a restart.

Each watches a job of its own that waits for a far day. Memory is that of the API process, after and before;
its queries are counted while nothing happens. Then the process is restarted, and every client comes back by
itself, while other jobs start beside them.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from readers import Reader, Tally, close, connect

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import (
    EMPTY,
    HEADRACE,
    Stage,
    arguments,
    fetch,
    free_port,
    on_uvloop,
    percentile,
    processes,
    ready,
    report,
    rss_mib,
    runs_of,
    stage,
    until,
)
from start_latency import FLOW, KNOWN, commit_to_entry

_IDLE_SECONDS: Final = 20.0
# PostgreSQL counts what an idle connection has done with a delay of ten seconds.
_COUNTED_SECONDS: Final = 12.0
_BEAT_SECONDS: Final = 5.0
_BACK_SECONDS: Final = 60.0
_LONGEST_PAUSE: Final = 3.0
_LATENCY_JOBS: Final = 200
_WARM: Final = 100
_BATCH: Final = 1_000
_HELLO: Final = b'{"type":"hello"'
_EVENT: Final = b'"type":"job.queued"'
_COMMITS: Final = "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = 'headrace'"


def main() -> None:
    wanted = arguments(__doc__, sockets=5_000)
    with stage() as made:
        figures: dict[str, Any] = runs_of(lambda: _run(made, wanted.sockets))
    report(f"{wanted.sockets:,} sockets of one API process", figures, wanted.json)


class Api:
    """An API process that is restarted; what it says is kept."""

    def __init__(self, made: Stage) -> None:
        self._environment = made.environment(HEADRACE_LOG_LEVEL="warning")
        self.port = free_port()
        self.log = made.folder / "api.log"
        self._process = self._start()

    @property
    def rss_kib(self) -> float:
        return rss_mib(self._process.pid) * 1024

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def restart(self) -> None:
        self.stop()
        self._process = self._start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [HEADRACE, "api", "--port", str(self.port)], env=self._environment, stdout=log, stderr=log
            )


async def measure(made: Stage, sockets: int) -> dict[str, float]:
    api = Api(made)
    readers: list[Reader] = []
    hellos, events = Tally(_HELLO), Tally(_EVENT)

    def take(message: bytes) -> None:
        hellos.take(message)
        events.take(message)

    def make(path: str) -> Reader:
        return Reader(path, take)

    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=30) as client:
            await ready(client)
            jobs = await waiting_jobs(made, client, sockets)
        paths = [f"/api/v1/jobs/{job}/ws" for job in jobs]
        readers = await connect(api.port, paths[:_WARM], make)
        await asyncio.sleep(2)
        before = api.rss_kib
        readers += await connect(api.port, paths[_WARM:], make)
        await _until(lambda: min(hellos.frames, events.frames) >= sockets)
        await asyncio.sleep(2)
        idle = await rest(made, api)
        idle["KiB a socket"] = (api.rss_kib - before) / (sockets - _WARM)
        calm = percentile(await commit_to_entry(made, _LATENCY_JOBS), 0.99)
        back = await herd(made, api, readers, paths, hellos)
        return (
            idle
            | back
            | {
                "start latency beside / alone, p99": back["start latency beside, p99 ms"] / calm,
                "errors in the log": sum(b"error" in line for line in api.log.read_bytes().splitlines()),
            }
        )
    finally:
        close(readers)
        api.stop()


async def rest(made: Stage, api: Api) -> dict[str, float]:
    """What the process does while nothing happens."""
    await asyncio.sleep(_COUNTED_SECONDS)
    commits = (await fetch(made.database_url, _COMMITS))[0]["n"]
    cpu, began = api.cpu_seconds, time.monotonic()
    await asyncio.sleep(_IDLE_SECONDS)
    took = time.monotonic() - began
    more = (await fetch(made.database_url, _COMMITS))[0]["n"] - commits
    return {
        "idle CPU, % of a core": (api.cpu_seconds - cpu) / took * 100,
        "statements a beat, worker and all": more / (took / _BEAT_SECONDS),
    }


async def herd(
    made: Stage, api: Api, readers: list[Reader], paths: list[str], hellos: Tally
) -> dict[str, float]:
    """Restart the process; each client tries again until it is greeted."""
    wanted = hellos.frames + len(paths)
    coming = [
        asyncio.create_task(come_back(api.port, place, path, readers, hellos))
        for place, path in enumerate(paths)
    ]
    starting = asyncio.create_task(commit_to_entry(made, _LATENCY_JOBS))
    began = time.monotonic()
    await asyncio.to_thread(api.restart)
    await _until(lambda: hellos.frames >= wanted)
    took = time.monotonic() - began
    await asyncio.gather(*coming)
    beside = percentile(await starting, 0.99)
    return {"all back after the restart, s": took, "start latency beside, p99 ms": beside}


async def come_back(port: int, place: int, path: str, readers: list[Reader], hellos: Tally) -> None:
    """As a client does: wait for the end, pause with jitter, try again."""
    loop = asyncio.get_running_loop()
    await readers[place].lost
    deadline = loop.time() + _BACK_SECONDS
    while loop.time() < deadline:
        await asyncio.sleep(random.uniform(0.1, _LONGEST_PAUSE))  # noqa: S311
        try:
            (readers[place],) = await connect(port, [path], lambda path: Reader(path, hellos.take))
        except OSError:
            continue
        return
    raise TimeoutError(path)


async def waiting_jobs(made: Stage, client: httpx.AsyncClient, count: int) -> list[str]:
    """Jobs that are due tomorrow."""
    await fetch(made.database_url, EMPTY)
    order = {"pipeline": "noop", "run_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    jobs: list[str] = []
    while len(jobs) < count:
        batch = {"jobs": [order] * min(_BATCH, count - len(jobs))}
        answer = await client.post("/api/v1/jobs/batch", json=batch)
        jobs += [job["id"] for job in answer.raise_for_status().json()["items"]]
    return jobs


async def _until(happened: Any) -> None:
    for _ in range(int(_BACK_SECONDS / 0.05)):
        if happened():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


def _run(made: Stage, sockets: int) -> dict[str, float]:
    with processes(made, ["worker"], HEADRACE_PIPELINES=str(FLOW)):
        asyncio.run(until(made.database_url, KNOWN))
        return on_uvloop(measure(made, sockets))


if __name__ == "__main__":
    main()
