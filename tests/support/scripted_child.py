"""A host that records the calls of steps, and a child process that is scripted by a test."""

import asyncio
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from headrace.domain.pipelines.definition import StepHandle
from headrace.workers.attempt.process_executor import ProcessExecutor
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.child import protocol
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.child.pieces import Pieces, cut
from support.virtual_time import until_idle

FILE: Final = UUID(int=9)
RUN_STEP: Final = protocol.RunStep(
    source="headrace.pipelines.samples",
    pipeline="render",
    version=2,
    step="mix",
    params="{}",
    item=None,
    job_id=UUID(int=7),
    attempt=3,
    scratch="scratch",
    max_output_bytes=1_024,
)
_TO_CHILD: Final[msgspec.msgpack.Decoder[protocol.ToChild]] = msgspec.msgpack.Decoder(protocol.ToChild)


class ScriptedChild:
    """A child process that the test scripts: its messages and its exit, which closes its socket."""

    def __init__(self) -> None:
        self.signals: list[Signals] = []
        self.folder: str | None = None
        self.status: int | None = None
        self.is_interrupted = False
        self._exited = asyncio.Event()
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._link: socket.socket | None = None

    async def start_step(self, descriptor: int, folder: str) -> "ScriptedChild":
        """Start this child, as the fork server of a worker does."""
        self.folder = folder
        self._link = socket.socket(fileno=os.dup(descriptor))
        return self

    async def receive(self) -> protocol.ToChild:
        """Return the next message of the worker, which may come in pieces."""
        await self._connect()
        pieces = Pieces()
        message: protocol.ToChild | None = None
        while message is None:
            (size,) = protocol.HEADER.unpack(await self._reader.readexactly(protocol.HEADER.size))
            message = pieces.join(_TO_CHILD.decode(await self._reader.readexactly(size)))
        return message

    async def send(self, message: protocol.ToWorker | bytes) -> None:
        writer = await self._connect()
        for part in [message] if isinstance(message, bytes) else cut(message):
            writer.write(part if isinstance(part, bytes) else protocol.encode(part))
            await writer.drain()

    async def exit(self, status: int, *, leaves_socket_open: bool = False) -> None:
        self.status = status
        self._exited.set()
        if not leaves_socket_open:
            await self.hang_up()

    async def hang_up(self) -> None:
        (await self._connect()).close()

    async def wait(self) -> int | None:
        await self._exited.wait()
        return self.status

    def end(self) -> None:
        self.signal(SIGTERM)

    def signal(self, number: Signals) -> None:
        self.signals.append(number)
        if self.status is None:
            self.status = -number
            self._exited.set()
            if self._writer is not None:
                self._writer.close()

    async def _connect(self) -> asyncio.StreamWriter:
        if self._writer is None:
            await until_idle()
            self._reader, self._writer = await asyncio.open_connection(sock=self._link)
        return self._writer


class RecordingHost:
    """A host that records its calls and their threads. If *refusal* is given, each call raises it."""

    def __init__(
        self,
        *,
        outputs: Mapping[str, str] | None = None,
        file: Path = Path("stored"),
        refusal: Exception | None = None,
    ) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()
        self._outputs = outputs or {}
        self._file = file
        self._refusal = refusal

    def _record(self, *call: Any) -> None:
        self.calls.append(call)
        self.threads.add(threading.get_ident())
        if self._refusal is not None:
            raise self._refusal

    def report(self, *arguments: Any) -> None:
        self._record("report", *arguments)

    async def log(self, *arguments: Any) -> None:
        self._record("log", *arguments)

    async def save_file(self, *arguments: Any) -> UUID:
        self._record("save_file", *arguments)
        return FILE

    async def file_path(self, _key: str, file_id: UUID | str) -> Path:
        self._record("file_path", file_id)
        return self._file

    def output(self, step: StepHandle | str) -> str:
        name = step if isinstance(step, str) else step.name
        self._record("output", name)
        return self._outputs[name]


def start_scripted(
    host: RecordingHost | None = None,
    *,
    message: protocol.RunStep = RUN_STEP,
    exit_seconds: float = 2.0,
    stop: StopSignal | None = None,
) -> tuple[ScriptedChild, ProcessExecutor, "asyncio.Future[str]"]:
    """Start a try of a step, with a child process that the test scripts."""
    child = ScriptedChild()
    executor = ProcessExecutor(
        message,
        "mix",
        "mix[2]",
        cast(StepHost, host or RecordingHost()),
        fork_server=cast(ForkServer, child),
        exit_seconds=exit_seconds,
    )
    outcome = asyncio.ensure_future(_run(executor, stop))
    # A test that kills the child may not look at the outcome.
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
    return child, executor, outcome


async def _run(executor: ProcessExecutor, stop: StopSignal | None) -> str:
    try:
        output: str = await executor.start()
        return output
    finally:
        await executor.finish(stop or StopSignal())
