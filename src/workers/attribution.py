"""Records for which attempt the event loop and the threads run code, also in tasks that a step creates."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from headrace.workers.crash_record import CURRENT_ENTRY, LOOP, NO_LEASE, Entry
from headrace.workers.job_threads import JobThreads

T = TypeVar("T")


class _MarkedCoroutine(Coroutine[Any, Any, T]):
    """A coroutine that is recorded as running between each resume and the next suspension.

    Every step of every job pays for the first three methods, so they call as little as possible.
    """

    __slots__ = ("_coroutine", "_mark", "_memory", "_resume")

    def __init__(self, coroutine: Coroutine[Any, Any, T], entry: Entry) -> None:
        self._coroutine = coroutine
        self._resume = coroutine.send
        self._memory = entry.record.memory
        self._mark = entry.mark

    def send(self, value: Any) -> Any:
        memory = self._memory
        memory[LOOP] = self._mark
        try:
            return self._resume(value)
        finally:
            memory[LOOP] = NO_LEASE

    def __next__(self) -> Any:
        memory = self._memory
        memory[LOOP] = self._mark
        try:
            return self._resume(None)
        finally:
            memory[LOOP] = NO_LEASE

    def throw(self, *error: Any) -> Any:
        self._memory[LOOP] = self._mark
        try:
            return self._coroutine.throw(*error)
        finally:
            self._memory[LOOP] = NO_LEASE

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def __getattr__(self, name: str) -> Any:
        """Look like the coroutine to those who inspect a task: its name, its frame, its state."""
        return getattr(self._coroutine, name)


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
    loop.set_default_executor(JobThreads())


def create_unmarked_task(coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Create a task of a coroutine that marks an author's code by itself."""
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop())


def _create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    return asyncio.Task(marked(coroutine), loop=loop, **options)
