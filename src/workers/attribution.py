"""Records on behalf of which attempt the event loop and the threads run code, also in tasks of the author."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.crash_record import CrashRecord, pack_lease

T = TypeVar("T")

_ATTEMPT: Final["contextvars.ContextVar[_Attempt | None]"] = contextvars.ContextVar(
    "headrace_attempt", default=None
)


class _Attempt:
    """An attempt, and the crash record that says when its code runs."""

    __slots__ = ("lease", "mark", "packed", "record")

    def __init__(self, record: CrashRecord, lease: HeldLease) -> None:
        self.record = record
        self.lease = lease
        self.mark = record.loop_mark
        self.packed = pack_lease(lease)


class _MarkedCoroutine(Coroutine[Any, Any, T]):
    """A coroutine that is recorded as running between each resume and the next suspension."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], attempt: _Attempt) -> None:
        self._coroutine = coroutine
        self._resume = coroutine.send
        self._mark = attempt.mark
        self._packed = attempt.packed

    def send(self, value: Any) -> Any:
        mark = self._mark
        outer = mark.value
        mark.set(self._packed)
        try:
            return self._resume(value)
        finally:
            mark.set(outer)

    def throw(self, *error: Any) -> Any:
        mark = self._mark
        outer = mark.value
        mark.set(self._packed)
        try:
            return self._coroutine.throw(*error)
        finally:
            mark.set(outer)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def __getattr__(self, name: str) -> Any:
        """Look like the coroutine to those who inspect a task: its name, its frame, its state."""
        return getattr(self._coroutine, name)


async def run_attempt(record: CrashRecord, lease: HeldLease, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run *coroutine* as the code of the attempt that holds *lease*, in the context of this task."""
    attempt = _Attempt(record, lease)
    token = _ATTEMPT.set(attempt)
    try:
        return await _MarkedCoroutine(coroutine, attempt)
    finally:
        _ATTEMPT.reset(token)


def attributed(function: Callable[..., T]) -> Callable[..., T]:
    """Return *function* so that the thread which calls it is recorded as running this attempt's code."""
    attempt = _ATTEMPT.get()
    return function if attempt is None else partial(attempt.record.call, attempt.lease, function)


def attribute_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Attribute each new task of *loop* and each call of `asyncio.to_thread` to the attempt that makes it."""
    loop.set_task_factory(_create_task)
    loop.set_default_executor(_AttributingExecutor(thread_name_prefix="asyncio"))


def _create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    attempt = _ATTEMPT.get()
    if attempt is not None:
        coroutine = _MarkedCoroutine(coroutine, attempt)
    return asyncio.Task(coroutine, loop=loop, **options)


class _AttributingExecutor(ThreadPoolExecutor):
    """The threads of `asyncio.to_thread`."""

    def submit(self, function: Callable[..., T], /, *arguments: Any, **named: Any) -> "Future[T]":
        return super().submit(attributed(function), *arguments, **named)
