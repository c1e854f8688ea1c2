"""Runs `headrace api` and `headrace worker` as separate processes, with the settings of a test."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import msgspec

from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from support.harness import TLS
from support.patience import PATIENCE_SECONDS, until, until_async

HEADRACE: Final = (str(Path(sys.executable).with_name("headrace")),)
_NUMBERS: Final = count(1)


class LoggedProcess:
    """A process, and the output of it and its children."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    async def wait_for_output(self, words: str, times: int = 1) -> None:
        """Wait until the output contains *words* that many times."""
        await until(lambda: self.output.count(words) >= times, lambda: f"{words!r} not in\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait until the process ends by itself. Return its exit status."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)

    async def kill(self) -> None:
        """Kill the process and all its descendants."""
        family = _descendants(self.process.pid)
        if self.process.returncode is None:
            self.process.kill()
        for descendant in family:
            descendant.send(signal.SIGKILL)
        await self.wait()

    def child(self) -> Process:
        """Return the only child of the process."""
        (only,) = self.children()
        return only

    def children(self) -> list[Process]:
        return children_of(self.process.pid)


@asynccontextmanager
async def running(
    settings: Settings, *arguments: str, command: tuple[str, ...] = HEADRACE, **environment: str
) -> AsyncIterator[LoggedProcess]:
    """Start `headrace` with *arguments*, and kill it and its descendants when the block ends."""
    log = settings.data_dir / f"{arguments[0]}-{next(_NUMBERS)}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            env=environment_of(settings) | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    started = LoggedProcess(process, log)
    try:
        yield started
    finally:
        await started.kill()


@asynccontextmanager
async def worker(
    settings: Settings, *arguments: str, command: tuple[str, ...] = HEADRACE, **environment: str
) -> AsyncIterator[LoggedProcess]:
    """Start a worker process without the parent that would replace it, and wait until it is ready."""
    async with running(settings, "worker", "--alone", *arguments, command=command, **environment) as started:
        await started.wait_for_output("worker_ready")
        yield started


@asynccontextmanager
async def supervised(
    settings: Settings, *arguments: str, command: tuple[str, ...] = HEADRACE, **environment: str
) -> AsyncIterator[LoggedProcess]:
    """Start a worker under its parent process, and wait until it is ready."""
    async with running(settings, "worker", *arguments, command=command, **environment) as started:
        await started.wait_for_output("worker_ready")
        yield started


@asynccontextmanager
async def api(
    settings: Settings, port: int | None = None, command: tuple[str, ...] = HEADRACE, **environment: str
) -> AsyncIterator[tuple[LoggedProcess, str]]:
    """Start an API process, wait until it responds, and yield it with its address."""
    port = free_port() if port is None else port
    async with running(settings, "api", "--port", str(port), command=command, **environment) as started:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            base_url=address, timeout=PATIENCE_SECONDS, trust_env=False, verify=TLS
        ) as client:
            await until_async(lambda: is_live(client), lambda: started.output)
        yield started, address


async def freeze(frozen: Sequence[LoggedProcess | Process], seconds: float) -> None:
    """Send SIGSTOP to processes, and let them go on after *seconds*."""
    for process in frozen:
        process.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for process in frozen:
        process.send(signal.SIGCONT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def is_live(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get("/health/live")).status_code == 200
    return False


def environment_of(settings: Settings) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in msgspec.structs.asdict(settings).items():
        if value is not None:
            joined = ",".join(value) if isinstance(value, tuple) else value
            variables[f"HEADRACE_{name.upper()}"] = (
                str(joined).lower() if isinstance(value, bool) else str(joined)
            )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return inherited | variables


def _children(pid: int) -> list[int]:
    try:
        return [int(child_pid) for child_pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[Process]:
    family = []
    for child_pid in _children(pid):
        process = Process.from_pid(child_pid)
        family += ([process] if process else []) + _descendants(child_pid)
    return family


def children_of(pid: int) -> list[Process]:
    """Return the live children of a process."""
    return [process for child_pid in _children(pid) if (process := Process.from_pid(child_pid)) is not None]


def family(pid: int) -> list[Process]:
    """Return the live descendants of a process."""
    return _descendants(pid)


def zombies_below(pid: int) -> list[str]:
    """Return the zombies among the children of a process."""
    zombies = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == pid:
            zombies.append(path.parent.name)
    return zombies
