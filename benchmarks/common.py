"""The parts that all benchmarks share: their own servers on loopback, Headrace processes and the report.

Every figure is the median of several runs. A report names the machine and the versions, and can be JSON.
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
EMPTY: Final = "TRUNCATE jobs, job_changes, step_runs CASCADE"
_BATCH: Final = 1_000

T = TypeVar("T")


@dataclass(frozen=True)
class BenchEnv:
    """A database, a Redis and a data folder for one benchmark."""

    database_url: str
    redis_url: str
    folder: Path
    postgres_pid: int

    def environment(self, **extra: str) -> dict[str, str]:
        return os.environ | {
            "HEADRACE_DATABASE_URL": self.database_url,
            "HEADRACE_REDIS_URL": self.redis_url,
            "HEADRACE_DATA_DIR": str(self.folder),
            "HEADRACE_LOG_LEVEL": "error",
            **extra,
        }


@contextmanager
def bench_environment() -> Iterator[BenchEnv]:
    """Start the servers, migrate the schema and register the bundled pipelines."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    folder.chmod(0o711)
    try:
        with run_servers(folder) as servers:
            if servers.postgres is None:
                raise RuntimeError("a benchmark starts its own PostgreSQL: unset HEADRACE_DATABASE_URL")
            postgres_pid = servers.postgres.running.process.pid
            env = BenchEnv(str(servers.database_url), str(servers.redis_url), folder, postgres_pid)
            upgrade(env.database_url)
            with processes(env, ["worker"]):
                asyncio.run(until(env.database_url, "SELECT count(*) > 0 FROM workers"))
            yield env
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def processes(env: BenchEnv, *commands: Sequence[str], **environment: str) -> Iterator[list[int]]:
    """Run `headrace` commands during the block and stop them at its end; yield their process ids."""
    running = [
        subprocess.Popen([HEADRACE, *command], env=env.environment(**environment)) for command in commands
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
    """Wait until *statement* returns true; it is run ten times a second.

    Raises:
        TimeoutError: it did not within *seconds*.
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
    """Queue *count* jobs through the domain, 1,000 per transaction, without ringing."""
    specs = [JobSpec(pipeline=pipeline, params=params)] * min(_BATCH, count)
    await submit_specs(database_url, specs, times=-(-count // _BATCH))


async def submit_specs(database_url: str, specs: Sequence[JobSpec], times: int = 1) -> None:
    """Queue *specs* through the domain in one transaction, *times* times, without ringing."""
    owner = await owner_of(database_url)
    pool = await StatementPool.open(database_url, size=2)
    submitter = Submitter(pool)
    try:
        for _ in range(times):
            await submitter.submit(owner, specs, lambda _: b"")
    finally:
        await pool.close()


async def owner_of(database_url: str) -> UUID:
    """Create the user that owns the jobs, if missing; return its id."""
    rows = await fetch(
        database_url,
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'bench', false, now(), now())"
        " ON CONFLICT (username) DO UPDATE SET updated_at = now() RETURNING id",
    )
    owner: UUID = rows[0]["id"]
    return owner


async def ready(client: httpx.AsyncClient) -> None:
    """Wait until the API is ready and sees a worker."""
    async with asyncio.timeout(60):
        while True:
            try:
                response = await client.get("/health/ready")
            except httpx.TransportError:
                response = None
            if (
                response is not None
                and response.status_code == 200
                and "worker" not in response.json()["degraded"]
            ):
                return
            await asyncio.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def runs_of(measure: Callable[[], dict[str, float]], times: int = RUNS) -> dict[str, dict[str, Any]]:
    """Return each figure of several runs: the median and all values."""
    runs = [measure() for _ in range(times)]
    return {
        name: {"median": statistics.median(run[name] for run in runs), "runs": [run[name] for run in runs]}
        for name in runs[0]
    }


def on_uvloop(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* in a uvloop, as Headrace does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(len(values) * share))]


def arguments(description: str | None, **defaults: int) -> argparse.Namespace:
    """Parse `--json FILE` and an integer option for each of *defaults*."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"[{value}]")
    return parser.parse_args()


def report(title: str, figures: dict[str, Any], target: Path | None) -> None:
    """Print the figures with machine and versions; write them to *target* as JSON, if given."""
    print(title)
    for name, figure in figures.items():
        median, runs = shown(figure)
        print(f"  {name:<42} {median:>10}" + (f"   (runs: {runs})" if runs else ""))
    print(f"  machine: {machine()}\n  versions: {versions()}")
    if target:
        content = {"title": title, "machine": machine(), "versions": versions(), "figures": figures}
        target.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))


def shown(figure: Any) -> tuple[str, str]:
    """Return the median of a figure and its runs as texts; the runs are empty for a figure without them."""
    if isinstance(figure, dict) and "median" in figure:
        return _short(figure["median"]), ", ".join(map(_short, figure["runs"]))
    return _short(figure), ""


def _short(value: Any) -> str:
    """Return a figure with three significant digits, or more if it is at least 1,000."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def versions() -> str:
    names = ("litestar", "uvicorn", "asyncpg", "redis", "arq")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)
