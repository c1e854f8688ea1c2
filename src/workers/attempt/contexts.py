"""The `StepContext` of steps that run in this process, in the event loop or in a thread."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar
from uuid import UUID

import msgspec

from headrace.domain.json_limits import MAX_LOOP_CHARS
from headrace.domain.pipelines.context import JobCancelledError
from headrace.domain.pipelines.definition import Pipeline, StepHandle
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attribution import attributed
from headrace.workers.containment import call_in_thread
from headrace.workers.job_threads import call_own
from headrace.workers.values import bytes_or_path

T = TypeVar("T")


class Folder(Protocol):
    """A folder that is created when *path* is first read."""

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
    """The context of a coroutine step; it implements `headrace.domain.pipelines.context.StepContext`."""

    def __init__(self, identity: StepIdentity, pipeline: Pipeline, host: StepHost) -> None:
        self._identity = identity
        self._pipeline = pipeline
        self._host = host
        self.stopping = False
        self.params = identity.params
        self.job_id = identity.job_id
        self.attempt = identity.attempt

    @property
    def key(self) -> str:
        return self._identity.key

    @property
    def scratch(self) -> Path:
        return self._identity.scratch.path

    async def output(self, step: StepHandle) -> Any:
        raw = await self.fetch_output(step)
        if len(raw) <= MAX_LOOP_CHARS:
            return self.decode_output(step, raw)
        decode = attributed(self.decode_output)
        return await call_in_thread(f"headrace-{self._identity.name}-json", decode, step, raw)

    async def fetch_output(self, step: StepHandle) -> str:
        """Return the output of an earlier step as JSON."""
        return self._host.output(step)

    def decode_output(self, step: StepHandle, raw: str) -> Any:
        return self._pipeline.decode_output(step, raw)

    async def progress(self, done: float, total: float, message: str | None = None) -> None:
        self._host.report(self._identity.name, self._identity.key, done, total, message)

    async def log(self, message: str, level: str = "info", **fields: Any) -> None:
        await self._host.log(self._identity.key, message, level, fields)

    async def save_file(self, name: str, data_or_path: bytes | Path | str, media_type: str) -> UUID:
        source = bytes_or_path(data_or_path)
        return await self._host.save_file(self._identity.key, str(name), source, str(media_type))

    async def open_file(self, file_id: UUID | str) -> BinaryIO:
        path = await self._host.file_path(self._identity.key, file_id)
        return await call_own(path.open, "rb")

    async def raise_if_cancelled(self) -> None:
        if self.stopping:
            raise JobCancelledError


class ThreadContext:
    """The context of a blocking step. Each call runs in the event loop while the step's thread waits.

    The thread itself decodes outputs.
    """

    def __init__(self, inner: LoopContext, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        # Set when the thread was given up: from then on its calls have no effect.
        self.closed = threading.Event()
        self._process = os.getpid()
        self.params = inner.params
        self.job_id = inner.job_id
        self.attempt = inner.attempt

    @property
    def scratch(self) -> Path:
        return self._inner.scratch

    def output(self, step: StepHandle) -> Any:
        return self._inner.decode_output(step, self._call(lambda: self._inner.fetch_output(step)))

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

    def _call(self, coroutine_function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self.closed.is_set():
            raise JobCancelledError
        if os.getpid() != self._process:
            raise RuntimeError("a forked process has no event loop: use the context in the step itself")
        return asyncio.run_coroutine_threadsafe(coroutine_function(), self._loop).result()
