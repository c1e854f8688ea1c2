"""Records for which attempt the event loop and the threads run code, also in tasks that a step creates."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.crash_record import CURRENT_ENTRY, LOOP, NO_LEASE, CrashRecord, Entry
from headrace.workers.job_threads import JobThreads

T = TypeVar("T")


class _MarkedCoroutine(Coroutine[Any, Any, T]):
    """A coroutine that is recorded as running between each resume and the next suspension.

    Every step of every job pays for the first three methods, so they call as little as possible.
    """

    __slots__ = ("_coroutine", "_mark", "_record", "_resume")

    def __init__(self, coroutine: Coroutine[Any, Any, T], entry: Entry) -> None:
        self._coroutine = coroutine
        self._resume = coroutine.send
        self._record = entry.record
        self._mark = entry.mark

    def send(self, value: Any) -> Any:
        record = self._record
        record.memory[LOOP] = self._mark
        try:
            return self._resume(value)
        finally:
            record.memory[LOOP] = NO_LEASE

    def __next__(self) -> Any:
        record = self._record
        record.memory[LOOP] = self._mark
        try:
            return self._resume(None)
        finally:
            record.memory[LOOP] = NO_LEASE

    def throw(self, *error: Any) -> Any:
        self._record.memory[LOOP] = self._mark
        try:
            return self._coroutine.throw(*error)
        finally:
            self._record.memory[LOOP] = NO_LEASE

    def close(self) -> None:
        self._record.memory[LOOP] = self._mark
        try:
            self._coroutine.close()
        finally:
            self._record.memory[LOOP] = NO_LEASE

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def __getattr__(self, name: str) -> Any:
        """Look like the coroutine to those who inspect a task: its name, its frame, its state."""
        return getattr(self._coroutine, name)


class OwnedTask(asyncio.Task[T]):
    """A task that code of a job cannot cancel, unless it belongs to that job: see `asyncio.all_tasks`.

    *owner*: the entry in whose context it was created; None for tasks of the worker. *lease*: the attempt for
    which it works, or the task that created it. *crash_record*: that of the worker, if this is the task with
    which it ends, and which nobody should cancel.
    """

    owner: Entry | None = None
    lease: HeldLease | None = None
    crash_record: CrashRecord | None = None

    def cancel(self, msg: Any = None) -> bool:
        """Request a cancellation, and return whether that was possible."""
        caller = CURRENT_ENTRY.get()
        if caller is not None and caller.is_running:
            owner = self.owner
            if owner is None or owner.mark != caller.mark:
                return False
        if caller is not None and self.crash_record is not None:
            # A callback that code of a job has scheduled.
            self.crash_record.blame(caller.lease)
        return super().cancel(msg)


def marked(coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Return *coroutine* so that it is recorded as code of the entry in whose context this is called."""
    entry = CURRENT_ENTRY.get()
    return coroutine if entry is None else _MarkedCoroutine(coroutine, entry)


def attributed(function: Callable[..., T]) -> Callable[..., T]:
    """Return *function* so that the thread which calls it is recorded as running code of this entry."""
    entry = CURRENT_ENTRY.get()
    return function if entry is None else partial(entry.record.call, entry.lease, function)


def attribute_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Attribute each new task of *loop* and each call of `asyncio.to_thread` to the entry that makes it."""
    loop.set_task_factory(_create_task)
    loop.set_exception_handler(_on_loop_error)
    loop.set_default_executor(JobThreads())


def create_unmarked_task(
    coroutine: Coroutine[Any, Any, T], lease: HeldLease | None = None
) -> "asyncio.Task[T]":
    """Create a task, for *lease*, of a coroutine that marks an author's code by itself."""
    task = OwnedTask(coroutine, loop=asyncio.get_running_loop())
    task.owner = CURRENT_ENTRY.get()
    task.lease = lease
    return task


def _create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    creator = asyncio.current_task(loop)
    task = OwnedTask(marked(coroutine), loop=loop, **options)
    task.owner = CURRENT_ENTRY.get()
    task.lease = creator.lease if isinstance(creator, OwnedTask) else None
    return task


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that nobody has handled. The text of an error may be computed by its author's code."""
    task = context.get("task") or context.get("future")
    owner = task.owner if isinstance(task, OwnedTask) else None
    with owner.running() if owner is not None else nullcontext():
        loop.default_exception_handler(context)
