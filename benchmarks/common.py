"""What all benchmarks share: servers of their own on loopback, our processes, the report.

Every figure is the median of several runs. A report prints the machine and the versions, and is JSON as well.
"""

import argparse
import asyncio
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import httpx
import msgspec
import uvloop

from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import upgrade
from headrace.adapters.servers import run_servers
from headrace.domain.jobs.submission.submission import JobSpec
from headrace.domain.jobs.submission.submitter import Submitter

HEADRACE: Final = Path(sys.executable).with_name("headrace")
RUNS: Final = 3
EMPTY: Final = "TRUNCATE jobs, job_events, step_runs CASCADE"
_BATCH: Final = 1_000

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """A database, a Redis and a data folder that nobody else uses."""

    database_url: str
    redis_url: str
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {
            "HEADRACE_DATABASE_URL": self.database_url,
            "HEADRACE_REDIS_URL": self.redis_url,
            "HEADRACE_DATA_DIR": str(self.folder),
            "HEADRACE_LOG_LEVEL": "error",
            **more,
        }


@contextmanager
def stage() -> Iterator[Stage]:
    """Servers with an up-to-date schema and the bundled pipelines made known."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    folder.chmod(0o711)
    try:
        with run_servers(folder) as servers:
            made = Stage(str(servers.database_url), str(servers.redis_url), folder)
            upgrade(made.database_url)
            with processes(made, ["worker"]):
                asyncio.run(until(made.database_url, "SELECT count(*) > 0 FROM workers"))
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def processes(made: Stage, *commands: Sequence[str], **environment: str) -> Iterator[list[int]]:
    """Our own commands for the block, told to stop at its end; gives the numbers of the processes."""
    running = [
        subprocess.Popen([HEADRACE, *command], env=made.environment(**environment)) for command in commands
    ]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(120)


async def fetch(database_url: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    finally:
        await connection.close()
    return rows


async def until(database_url: str, statement: str, seconds: float = 600) -> None:
    """Wait until *statement* says true; asked ten times a second.

    Raises:
        TimeoutError: it does not.
    """
    connection = await asyncpg.connect(database_url)
    try:
        for _ in range(int(seconds * 10)):
            if await connection.fetchval(statement):
                return
            await asyncio.sleep(0.1)
        raise TimeoutError(statement)
    finally:
        await connection.close()


async def submit(database_url: str, count: int, pipeline: str = "noop", **params: Any) -> None:
    """Queue *count* jobs through the domain, 1,000 a transaction; nobody is rung for."""
    orders = [JobSpec(pipeline=pipeline, params=params)] * min(_BATCH, count)
    await submit_orders(database_url, orders, times=-(-count // _BATCH))


async def submit_orders(database_url: str, orders: Sequence[JobSpec], times: int = 1) -> None:
    """Queue *orders* through the domain in one transaction, so many times; nobody is rung for."""
    owner = await owner_of(database_url)
    pool = await StatementPool.open(database_url, size=2)
    submitter = Submitter(pool)
    try:
        for _ in range(times):
            await submitter.submit(owner, orders, lambda _: b"")
    finally:
        await pool.close()


async def owner_of(database_url: str) -> UUID:
    """Somebody who may own jobs."""
    rows = await fetch(
        database_url,
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'bench', false, now(), now())"
        " ON CONFLICT (username) DO UPDATE SET updated_at = now() RETURNING id",
    )
    owner: UUID = rows[0]["id"]
    return owner


async def ready(client: httpx.AsyncClient) -> None:
    """Wait until the API and a worker are there."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await client.get("/health/ready")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200 and "worker" not in answer.json()["degraded"]:
                return
            await asyncio.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def runs_of(measure: Callable[[], dict[str, float]], times: int = RUNS) -> dict[str, dict[str, Any]]:
    """The figures of several runs: the median and each."""
    each = [measure() for _ in range(times)]
    return {
        name: {"median": statistics.median(run[name] for run in each), "runs": [run[name] for run in each]}
        for name in each[0]
    }


def on_uvloop(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* in a loop as our processes have it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(len(values) * share))]


def arguments(description: str | None, **defaults: int) -> argparse.Namespace:
    """`--json FILE`, and a number for each of *defaults*."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"[{value}]")
    return parser.parse_args()


def report(title: str, figures: dict[str, Any], target: Path | None) -> None:
    """Print the figures and where they were measured; and write them."""
    print(title)
    for name, figure in figures.items():
        if isinstance(figure, dict) and "median" in figure:
            each = ", ".join(_short(one) for one in figure["runs"])
            print(f"  {name:<34} {_short(figure['median']):>10}   (runs: {each})")
        else:
            print(f"  {name:<34} {_short(figure):>10}")
    print(f"  machine: {machine()}\n  versions: {versions()}")
    if target:
        whole = {"title": title, "machine": machine(), "versions": versions(), "figures": figures}
        target.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2))


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def versions() -> str:
    names = ("litestar", "uvicorn", "asyncpg", "redis", "arq")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)
