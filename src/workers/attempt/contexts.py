"""`StepContext` for steps in this process: awaited in the loop, plain calls in a thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar
from uuid import UUID

import msgspec

from headrace.domain.pipelines.context import JobCancelledError
from headrace.domain.pipelines.definition import Pipeline, StepHandle
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.values import bytes_or_path

T = TypeVar("T")


class Folder(Protocol):
    """A folder that is made when it is first asked for."""

    @property
    def path(self) -> Path: ...


class StepIdentity(msgspec.Struct, frozen=True):
    """Which step run of which attempt this is."""

    job_id: UUID
    attempt: int
    name: str
    key: str
    params: Any
    scratch: Folder


class LoopContext:
    """`headrace.domain.pipelines.context.StepContext` for a step in the event loop."""

    def __init__(self, situation: StepIdentity, pipeline: Pipeline, desk: StepHost) -> None:
        self._situation = situation
        self._pipeline = pipeline
        self._desk = desk
        self.stopping = False
        self.params = situation.params
        self.job_id = situation.job_id
        self.attempt = situation.attempt

    @property
    def scratch(self) -> Path:
        return self._situation.scratch.path

    async def output(self, step: StepHandle) -> Any:
        return self._pipeline.decode_output(step, self._desk.output(step))

    async def progress(self, done: float, total: float, message: str | None = None) -> None:
        self._desk.report(self._situation.name, self._situation.key, done, total, message)

    async def log(self, message: str, level: str = "info", **fields: Any) -> None:
        await self._desk.log(self._situation.key, message, level, fields)

    async def save_file(self, name: str, data_or_path: bytes | Path | str, media_type: str) -> UUID:
        source = bytes_or_path(data_or_path)
        return await self._desk.save_file(self._situation.key, str(name), source, str(media_type))

    async def open_file(self, file_id: UUID | str) -> BinaryIO:
        path = await self._desk.file_path(file_id)
        return path.open("rb")

    async def raise_if_cancelled(self) -> None:
        if self.stopping:
            raise JobCancelledError


class ThreadContext:
    """The same names as plain calls; each runs in the event loop while the step's thread waits."""

    def __init__(self, inner: LoopContext, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        # Set when the thread is given up: whatever it still says is not heard.
        self.closed = threading.Event()
        self.params = inner.params
        self.job_id = inner.job_id
        self.attempt = inner.attempt

    @property
    def scratch(self) -> Path:
        return self._inner.scratch

    def output(self, step: StepHandle) -> Any:
        return self._call(lambda: self._inner.output(step))

    def progress(self, done: float, total: float, message: str | None = None) -> None:
        self._call(lambda: self._inner.progress(done, total, message))

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        self._call(lambda: self._inner.log(message, level, **fields))

    def save_file(self, name: str, data_or_path: bytes | Path | str, media_type: str) -> UUID:
        return self._call(lambda: self._inner.save_file(name, data_or_path, media_type))

    def open_file(self, file_id: UUID | str) -> BinaryIO:
        return self._call(lambda: self._inner.open_file(file_id))

    def raise_if_cancelled(self) -> None:
        if self._inner.stopping or self.closed.is_set():
            raise JobCancelledError

    def _call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self.closed.is_set():
            raise JobCancelledError
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result()
