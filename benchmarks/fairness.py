"""Measures one user's requests, alone and beside another user who asks for everything that is dear.

The greedy user searches, reads pages far down, sends GraphQL queries, cancels and deletes jobs, opens
streams, and submits batches, each over 50 connections at once, from processes at the lowest priority. That
user has 20,000 jobs, and 300 with 250 kB of meta.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
from common import (
    RUNS,
    arguments,
    bench_environment,
    free_port,
    percentile,
    processes,
    ready,
    report,
    runs_of,
)
from greedy import KINDS, USER

_NAME: Final = "X-Forwarded-Preferred-Username"
_CONNECTIONS: Final = 50
# The greedy processes need a while to start, and end by themselves.
_WARM_UP_SECONDS: Final = 3.0
_CANCELLED_IN_A_RUN: Final = 700
_GREEDY_SECONDS: Final = 600.0
_LARGE_META: Final = {"note": "x y z " * 41_000}
_LATER: Final = "2100-01-01T00:00:00Z"
_PROBES: Final = {
    "GET /jobs": ("GET", "/api/v1/jobs?limit=50", None),
    "POST /jobs": ("POST", "/api/v1/jobs", {"pipeline": "noop", "params": {}, "run_at": _LATER}),
    "GET /health/live": ("GET", "/health/live", None),
    "GET /health/ready": ("GET", "/health/ready", None),
}


def main() -> None:
    options = arguments(__doc__, requests=100, runs=RUNS)
    port = free_port()
    figures: dict[str, Any] = {}
    with bench_environment() as env:
        settings = {"HEADRACE_AUTH": "proxy", "HEADRACE_TRUSTED_PROXIES": "127.0.0.1"}
        with processes(env, ["api", "--port", str(port)], ["worker", "--queue", "nobody"], **settings):
            job_ids = asyncio.run(prepare(port))
            for title, kinds in {"alone": (), **{kind: (kind,) for kind in KINDS}, "all": KINDS}.items():
                measured = runs_of(partial(run, port, kinds, job_ids, options.requests), options.runs)
                figures |= {f"{title}: {name}": figure for name, figure in measured.items()}
    report(f"a user beside a greedy one, {options.requests} requests of each kind", figures, options.json)


def run(port: int, kinds: Collection[str], job_ids: list[str], requests: int) -> dict[str, float]:
    """Start the greedy processes, and measure the other user's requests; take some of *job_ids*."""
    # Each run cancels and deletes other jobs.
    job_ids[:] = job_ids[_CANCELLED_IN_A_RUN:]
    with greedy(port, kinds, job_ids):
        taken = asyncio.run(probe(port, requests))
    figures = {}
    for name, seconds in taken.items():
        figures[f"{name}, p50 ms"] = statistics.median(seconds) * 1000
        figures[f"{name}, p99 ms"] = percentile(seconds, 0.99) * 1000
    return figures


@contextmanager
def greedy(port: int, kinds: Collection[str], job_ids: Collection[str]) -> Iterator[None]:
    program = Path(__file__).with_name("greedy.py")
    running = []
    try:
        for kind in kinds:
            command = [sys.executable, str(program), kind, str(port), str(_CONNECTIONS), str(_GREEDY_SECONDS)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
            running.append(process)
            if process.stdin is not None:
                process.stdin.write("\n".join(job_ids))
                process.stdin.close()
        if kinds:
            time.sleep(_WARM_UP_SECONDS)
        yield
        if any(process.poll() is not None for process in running):
            raise RuntimeError("a greedy process has ended before the measurement")
    finally:
        for process in running:
            process.kill()
            process.wait(20)


async def prepare(port: int) -> list[str]:
    """Give the greedy user the jobs and the other user 200; return the ids of those that can be cancelled."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        await ready(client)
        job: dict[str, Any] = {"pipeline": "noop", "params": {}, "run_at": _LATER}
        ids = []
        for _ in range(20):
            response = await client.post(
                "/api/v1/jobs/batch", json={"jobs": [job] * 1000}, headers={_NAME: USER}
            )
            ids += [item["id"] for item in response.raise_for_status().json()["items"]]
        for _ in range(300):
            (
                await client.post("/api/v1/jobs", json=job | {"meta": _LARGE_META}, headers={_NAME: USER})
            ).raise_for_status()
        response = await client.post("/api/v1/jobs/batch", json={"jobs": [job] * 200}, headers={_NAME: "ada"})
        response.raise_for_status()
    return ids


async def probe(port: int, requests: int) -> dict[str, list[float]]:
    """Return the seconds that each of a user's requests took; they are sent one after the other."""
    taken: dict[str, list[float]] = {name: [] for name in _PROBES}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for _ in range(requests):
            for name, (method, path, body) in _PROBES.items():
                began = time.perf_counter()
                response = await client.request(method, path, json=body, headers={_NAME: "ada"})
                taken[name].append(time.perf_counter() - began)
                response.raise_for_status()
    return taken


if __name__ == "__main__":
    main()
