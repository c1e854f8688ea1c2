"""The threads of `asyncio.to_thread`: each job has a pool of its own, and the worker has another one."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.crash_record import CURRENT_ENTRY, Entry

T = TypeVar("T")

# The number that asyncio gives a whole process.
_THREADS_PER_JOB: Final = min(32, (os.cpu_count() or 1) + 4)
_OWN_THREADS: Final = 32


class JobThreads(ThreadPoolExecutor):
    """The default executor of the worker's loop. A call waits only for earlier calls of the same job.

    Calls are attributed to the entry in whose context they are made; without one they are the worker's own.
    """

    def __init__(self) -> None:
        super().__init__(_OWN_THREADS, thread_name_prefix="headrace-own")
        self._pools: WeakValueDictionary[HeldLease, ThreadPoolExecutor] = WeakValueDictionary()

    def submit(self, function: Callable[..., T], /, *arguments: Any, **named: Any) -> "Future[T]":
        entry = CURRENT_ENTRY.get()
        if entry is None:
            return super().submit(function, *arguments, **named)
        call = partial(entry.record.call, entry.lease, function)
        return self._pool_of(entry).submit(call, *arguments, **named)

    def _pool_of(self, entry: Entry) -> ThreadPoolExecutor:
        """Return the pool of the job; it ends its threads when none of the job's entries is left."""
        if entry.threads is None:
            pool = self._pools.get(entry.lease)
            if pool is None:
                pool = ThreadPoolExecutor(_THREADS_PER_JOB, thread_name_prefix="asyncio")
                self._pools[entry.lease] = pool
            entry.threads = pool
        return entry.threads


def call_own(function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
    """Call a function of the worker in one of its own threads, which no job's calls can occupy."""
    token = CURRENT_ENTRY.set(None)
    try:
        return asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    finally:
        CURRENT_ENTRY.reset(token)
