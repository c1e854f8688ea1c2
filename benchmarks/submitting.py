"""Measures submissions: through the domain, as batches over HTTP, and one by one over 64 connections.

The baseline for one by one is a bare Litestar handler that runs one INSERT; both take turns.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from common import (
    EMPTY,
    RUNS,
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    free_port,
    processes,
    ready,
    report,
    submit,
)

CONNECTIONS: Final = 64
BATCH_SIZE: Final = 1_000
SINGLE_BODY: Final = msgspec.json.encode({"pipeline": "noop", "params": {}})
BATCH_BODY: Final = msgspec.json.encode({"jobs": [{"pipeline": "noop", "params": {}}] * BATCH_SIZE})


def main() -> None:
    options = arguments(__doc__, jobs=20_000, requests=10_000)
    with bench_environment() as env:
        rates: dict[str, list[float]] = {}
        port, bare_port = free_port(), free_port()
        bare = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("bare.py"), str(bare_port)], env=env.environment()
        )
        try:
            with processes(env, ["api", "--port", str(port)], ["worker", "--queue", "nobody"]):
                asyncio.run(measure(env, rates, port, bare_port, options.jobs, options.requests))
        finally:
            bare.terminate()
            bare.wait(20)
    figures: dict[str, Any] = {
        name: {"median": statistics.median(runs), "runs": runs} for name, runs in rates.items()
    }
    figures["POST /jobs / bare INSERT"] = statistics.median(rates["POST /jobs"]) / statistics.median(
        rates["bare INSERT"]
    )
    report("submit", figures, options.json)


async def measure(
    env: BenchEnv,
    rates: dict[str, list[float]],
    port: int,
    bare_port: int,
    jobs: int,
    requests: int,
) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await ready(client)
    cases = [(port, "/api/v1/jobs", SINGLE_BODY)], [(port, "/api/v1/jobs/batch", BATCH_BODY)]
    for _ in range(RUNS):
        await fetch(env.database_url, EMPTY)
        began = time.perf_counter()
        await submit(env.database_url, jobs)
        rates.setdefault("domain, 1,000 a transaction", []).append(jobs / (time.perf_counter() - began))
        seconds = await load(cases[1], max(1, jobs // BATCH_SIZE), connections=2)
        rates.setdefault("POST /jobs/batch, 1,000 each", []).append(jobs / seconds)
        for name, calls in (("bare INSERT", [(bare_port, "/jobs", SINGLE_BODY)]), ("POST /jobs", cases[0])):
            await load(calls, requests // 10, connections=CONNECTIONS)
            seconds = await load(calls, requests, connections=CONNECTIONS)
            rates.setdefault(name, []).append(requests / seconds)


async def load(calls: Sequence[tuple[int, str, bytes]], requests: int, *, connections: int) -> float:
    """Send *requests* over all connections, one at a time on each; return the seconds."""
    ((port, path, body),) = calls
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    left = iter(range(requests))
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(client(port, request, left))
    return time.perf_counter() - began


async def client(port: int, request: bytes, left: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in left:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 201")):
                raise RuntimeError(head.decode())
            size = next(
                int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            await reader.readexactly(size)
    finally:
        writer.close()


if __name__ == "__main__":
    main()
