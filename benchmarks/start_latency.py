"""Idle start latency: from the answer to POST /jobs to `job.started` at a connected WebSocket.

Starts its own servers, API and worker on loopback. Prints the machine, the versions and the median of three
runs, and writes the same as JSON with `--json FILE`.
"""

import argparse
import asyncio
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import msgspec
import websockets

from adapters.servers import run_servers

RUNS = 3
JOBS = 100
HEADRACE = Path(sys.executable).with_name("headrace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"jobs in each of the {RUNS} runs [{JOBS}]")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    folder.chmod(0o711)
    try:
        with run_servers(folder) as servers:
            figures = asyncio.run(
                measure(str(servers.database_url), str(servers.redis_url), folder, arguments.jobs)
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = {"machine": machine(), "versions": versions(), "jobs_a_run": arguments.jobs, "runs": figures}
    for name in ("p50_ms", "p99_ms"):
        each = [run[name] for run in figures]
        report[name] = statistics.median(each)
        print(f"{name}: {report[name]:.1f}   (runs: {', '.join(f'{one:.1f}' for one in each)})")
    print(f"machine: {report['machine']}")
    print(f"versions: {report['versions']}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))


async def measure(database_url: str, redis_url: str, folder: Path, jobs: int) -> list[dict[str, float]]:
    port = free_port()
    environment = os.environ | {
        "HEADRACE_DATABASE_URL": database_url,
        "HEADRACE_REDIS_URL": redis_url,
        "HEADRACE_DATA_DIR": str(folder),
        "HEADRACE_LOG_LEVEL": "error",
    }
    subprocess.run([HEADRACE, "migrate"], env=environment, check=True, capture_output=True)
    parts = [
        subprocess.Popen([HEADRACE, "api", "--port", str(port)], env=environment),
        subprocess.Popen([HEADRACE, "worker"], env=environment),
    ]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await until_ready(client)
            await one_run(client, port, 10)
            return [await one_run(client, port, jobs) for _ in range(RUNS)]
    finally:
        for part in parts:
            part.terminate()
        for part in parts:
            part.wait(60)


async def one_run(client: httpx.AsyncClient, port: int, jobs: int) -> dict[str, float]:
    """Jobs one after the other, with a pause in which the worker is idle again."""
    waits = []
    for _ in range(jobs):
        waits.append(await one_job(client, port))
        await asyncio.sleep(0.02)
    waits.sort()
    return {
        "p50_ms": statistics.median(waits),
        "p99_ms": waits[min(len(waits) - 1, round(len(waits) * 0.99))],
    }


async def one_job(client: httpx.AsyncClient, port: int) -> float:
    """Milliseconds from the answer to the frame. Where the frame is there first, the wait is nothing."""
    answer = await client.post("/api/v1/jobs", json={"pipeline": "noop"})
    answered = time.perf_counter()
    url = f"ws://127.0.0.1:{port}/api/v1/jobs/{answer.json()['id']}/ws"
    async with asyncio.timeout(10), websockets.connect(url) as socket:
        async for message in socket:
            if msgspec.json.decode(message)["type"] == "job.started":
                return (time.perf_counter() - answered) * 1000
    raise RuntimeError("the job did not start")


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                ready: dict[str, Any] = (await client.get("/health/ready")).json()
            except httpx.TransportError:
                ready = {"status": "starting"}
            if ready["status"] == "ok":
                return
            await asyncio.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def versions() -> str:
    names = ("litestar", "uvicorn", "asyncpg", "redis", "arq")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    main()
