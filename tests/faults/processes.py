"""`headrace api` and `headrace worker` as processes of their own, over the settings of a test."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from headrace.adapters.servers.processes import Process
from headrace.settings import Settings

HEADRACE: Final = (str(Path(sys.executable).with_name("headrace")),)
_NUMBERS: Final = count(1)
_PATIENCE_SECONDS: Final = 120


class Running:
    """A process, and what it and its children have said."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    async def hear(self, words: str, times: int = 1) -> None:
        """Wait until *words* were said so many times."""
        await until(lambda: self.said.count(words) >= times, lambda: f"{words!r} not in\n{self.said}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Its exit status, once it has ended by itself."""
        return await asyncio.wait_for(self.process.wait(), _PATIENCE_SECONDS)

    async def kill(self) -> None:
        """End it and everything that it has started."""
        family = _descendants(self.process.pid)
        if self.process.returncode is None:
            self.process.kill()
        for one in family:
            one.send(signal.SIGKILL)
        await self.wait()

    def child(self) -> Process:
        """Its only child."""
        (only,) = self.children()
        return only

    def children(self) -> list[Process]:
        return [found for pid in _children(self.process.pid) if (found := Process.from_pid(pid)) is not None]


@asynccontextmanager
async def running(
    settings: Settings, *arguments: str, command: tuple[str, ...] = HEADRACE, **environment: str
) -> AsyncIterator[Running]:
    """Start `headrace` with *arguments*; nothing of it is left when the block ends."""
    log = settings.data_dir / f"{arguments[0]}-{next(_NUMBERS)}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            env=_environment(settings) | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    started = Running(process, log)
    try:
        yield started
    finally:
        await started.kill()


@asynccontextmanager
async def worker(
    settings: Settings, *arguments: str, command: tuple[str, ...] = HEADRACE
) -> AsyncIterator[Running]:
    """A worker process that is ready, without the parent that would replace it."""
    async with running(settings, "worker", "--alone", *arguments, command=command) as started:
        await started.hear("worker_ready")
        yield started


@asynccontextmanager
async def supervised(settings: Settings, *arguments: str) -> AsyncIterator[Running]:
    """A worker that is ready, with its parent."""
    async with running(settings, "worker", *arguments) as started:
        await started.hear("worker_ready")
        yield started


@asynccontextmanager
async def api(
    settings: Settings, port: int | None = None, command: tuple[str, ...] = HEADRACE
) -> AsyncIterator[tuple[Running, str]]:
    """An API process that answers, and its address."""
    port = free_port() if port is None else port
    async with running(settings, "api", "--port", str(port), command=command) as started:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
            await until_async(lambda: _answers(client), lambda: started.said)
        yield started, address


async def until(happened: Callable[[], bool], told: Callable[[], str] = str) -> None:
    """Wait until it has happened; *told* explains when it does not."""

    async def look() -> bool:
        return happened()

    await until_async(look, told)


async def until_async(
    happened: Callable[[], Any], told: Callable[[], str] = str, seconds: float = _PATIENCE_SECONDS
) -> None:
    """`until` for what has to be awaited."""
    try:
        async with asyncio.timeout(seconds):
            while not await happened():
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"waited for {seconds} s: {told()}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answers(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get("/health/live")).status_code == 200
    return False


def _environment(settings: Settings) -> dict[str, str]:
    ours: dict[str, str] = {}
    for name, value in msgspec.structs.asdict(settings).items():
        if value is not None:
            listed = ",".join(value) if isinstance(value, tuple) else value
            ours[f"HEADRACE_{name.upper()}"] = str(listed).lower() if isinstance(value, bool) else str(listed)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | ours


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[Process]:
    family = []
    for child in _children(pid):
        found = Process.from_pid(child)
        family += ([found] if found else []) + _descendants(child)
    return family
