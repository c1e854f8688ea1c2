"""Measures thousands of sockets of one API process: the cost of an idle one, and reconnects after a restart.

Each socket watches its own job, due tomorrow. The memory of the API process is read before and after.
Its queries are counted while it is idle. Then the process restarts, and every client reconnects by itself
while other jobs start.
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
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    free_port,
    on_uvloop,
    percentile,
    processes,
    ready,
    report,
    rss_mib,
    runs_of,
    until,
)
from start_latency import FLOW, KNOWN, commit_to_entry

_IDLE_SECONDS: Final = 20.0
# PostgreSQL counts the transactions of a connection that became idle with a delay of ten seconds.
_STATISTICS_DELAY_SECONDS: Final = 12.0
_BEAT_SECONDS: Final = 5.0
_RECONNECT_TIMEOUT_SECONDS: Final = 60.0
_MAX_PAUSE_SECONDS: Final = 3.0
_LATENCY_JOBS: Final = 200
_WARM_UP_SOCKETS: Final = 100
_BATCH: Final = 1_000
_HELLO: Final = b'{"type":"hello"'
_EVENT: Final = b'"type":"job.queued"'
_COMMITS: Final = "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = 'headrace'"


def main() -> None:
    options = arguments(__doc__, sockets=5_000)
    with bench_environment() as env:
        figures: dict[str, Any] = runs_of(lambda: _run(env, options.sockets))
    report(f"{options.sockets:,} sockets of one API process", figures, options.json)


class Api:
    """An API process that can be restarted; its output goes to a log file."""

    def __init__(self, env: BenchEnv) -> None:
        self._environment = env.environment(HEADRACE_LOG_LEVEL="warning")
        self.port = free_port()
        self.log = env.folder / "api.log"
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


async def measure(env: BenchEnv, sockets: int) -> dict[str, float]:
    api = Api(env)
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
            jobs = await waiting_jobs(env, client, sockets)
        paths = [f"/api/v1/jobs/{job}/ws" for job in jobs]
        readers = await connect(api.port, paths[:_WARM_UP_SOCKETS], make)
        await asyncio.sleep(2)
        before = api.rss_kib
        readers += await connect(api.port, paths[_WARM_UP_SOCKETS:], make)
        await _wait_until(lambda: min(hellos.frames, events.frames) >= sockets)
        await asyncio.sleep(2)
        idle = await measure_idle(env, api)
        idle["KiB a socket"] = (api.rss_kib - before) / (sockets - _WARM_UP_SOCKETS)
        undisturbed = percentile(await commit_to_entry(env, _LATENCY_JOBS), 0.99)
        reconnected = await restart_and_reconnect(env, api, readers, paths, hellos)
        return (
            idle
            | reconnected
            | {
                "start latency beside / alone, p99": reconnected["start latency beside, p99 ms"]
                / undisturbed,
                "errors in the log": sum(b"error" in line for line in api.log.read_bytes().splitlines()),
            }
        )
    finally:
        close(readers)
        api.stop()


async def measure_idle(env: BenchEnv, api: Api) -> dict[str, float]:
    """Measure the idle process."""
    await asyncio.sleep(_STATISTICS_DELAY_SECONDS)
    commits = (await fetch(env.database_url, _COMMITS))[0]["n"]
    cpu, began = api.cpu_seconds, time.monotonic()
    await asyncio.sleep(_IDLE_SECONDS)
    took = time.monotonic() - began
    transactions = (await fetch(env.database_url, _COMMITS))[0]["n"] - commits
    return {
        "idle CPU, % of a core": (api.cpu_seconds - cpu) / took * 100,
        "statements a beat, worker and all": transactions / (took / _BEAT_SECONDS),
    }


async def restart_and_reconnect(
    env: BenchEnv, api: Api, readers: list[Reader], paths: list[str], hellos: Tally
) -> dict[str, float]:
    """Restart the process; each client reconnects until it receives `hello`."""
    expected_hellos = hellos.frames + len(paths)
    reconnecting = [
        asyncio.create_task(reconnect(api.port, number, path, readers, hellos))
        for number, path in enumerate(paths)
    ]
    starts = asyncio.create_task(commit_to_entry(env, _LATENCY_JOBS))
    began = time.monotonic()
    await asyncio.to_thread(api.restart)
    await _wait_until(lambda: hellos.frames >= expected_hellos)
    took = time.monotonic() - began
    await asyncio.gather(*reconnecting)
    beside = percentile(await starts, 0.99)
    return {"all reconnected after the restart, s": took, "start latency beside, p99 ms": beside}


async def reconnect(port: int, number: int, path: str, readers: list[Reader], hellos: Tally) -> None:
    """Wait until the socket is closed, then reconnect with random pauses until `hello` comes."""
    greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(message: bytes) -> None:
        hellos.take(message)
        if message.startswith(_HELLO) and not greeted.done():
            greeted.set_result(None)

    await readers[number].lost
    async with asyncio.timeout(_RECONNECT_TIMEOUT_SECONDS):
        while not greeted.done():
            await asyncio.sleep(random.uniform(0.1, _MAX_PAUSE_SECONDS))  # noqa: S311
            try:
                (readers[number],) = await connect(port, [path], lambda path: Reader(path, take))
            except OSError:
                continue
            # The service may put a client off: it accepts the socket, says why, and closes it.
            await asyncio.wait({greeted, readers[number].lost}, return_when=asyncio.FIRST_COMPLETED)


async def waiting_jobs(env: BenchEnv, client: httpx.AsyncClient, count: int) -> list[str]:
    """Submit *count* jobs that are due tomorrow; return their ids."""
    await fetch(env.database_url, EMPTY)
    body = {"pipeline": "noop", "run_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    jobs: list[str] = []
    while len(jobs) < count:
        batch = {"jobs": [body] * min(_BATCH, count - len(jobs))}
        response = await client.post("/api/v1/jobs/batch", json=batch)
        jobs += [job["id"] for job in response.raise_for_status().json()["items"]]
    return jobs


async def _wait_until(condition: Any) -> None:
    for _ in range(int(_RECONNECT_TIMEOUT_SECONDS / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


def _run(env: BenchEnv, sockets: int) -> dict[str, float]:
    with processes(env, ["worker"], HEADRACE_PIPELINES=str(FLOW)):
        asyncio.run(until(env.database_url, KNOWN))
        return on_uvloop(measure(env, sockets))


if __name__ == "__main__":
    main()
