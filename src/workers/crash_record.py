"""Records in a file which attempts run an author's code, so that the death of a worker can be explained."""

import mmap
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from msgspec import Struct

from headrace.adapters.private_files import open_private
from headrace.domain.jobs.attempts.claims import HeldLease

T = TypeVar("T")

_WORKER: Final = struct.Struct("64s")
_LEASE: Final = struct.Struct("=16sI")
_THREAD_ID: Final = struct.Struct("=I")
# The thread, the attempt whose code it runs, and how many threads began before.
_THREAD: Final = struct.Struct("=I16sIQ")
_MAX_THREADS: Final = 1024

_ENTERED_AT: Final = _WORKER.size
_BLAMED_AT: Final = _ENTERED_AT + _LEASE.size
_LOOP_AT: Final = _BLAMED_AT + _LEASE.size
_LOOP_THREAD_AT: Final = _LOOP_AT + _LEASE.size
_THREADS_AT: Final = _LOOP_THREAD_AT + _THREAD_ID.size
_SIZE: Final = _THREADS_AT + _MAX_THREADS * _THREAD.size

_ENTERED: Final = slice(_ENTERED_AT, _ENTERED_AT + _LEASE.size)
_BLAMED: Final = slice(_BLAMED_AT, _BLAMED_AT + _LEASE.size)
LOOP: Final = slice(_LOOP_AT, _LOOP_AT + _LEASE.size)
"""The place of the attempt whose code the event loop runs at this moment, as `pack_lease` returns it."""
NO_LEASE: Final = bytes(_LEASE.size)
_NO_THREAD: Final = bytes(_THREAD.size)
_NOBODY: Final[HeldLease] = (UUID(int=0), 2**32 - 1)


class Death(Struct, frozen=True):
    """A worker that ended without stopping in order, and the attempt that is to blame, if that is known."""

    worker: str
    blamed: HeldLease | None


class Entry:
    """An author's code that runs on behalf of *lease*."""

    __slots__ = ("lease", "mark", "record", "threads")

    def __init__(self, record: "CrashRecord", lease: HeldLease) -> None:
        self.record = record
        self.lease = lease
        self.mark = pack_lease(lease)
        self.threads: ThreadPoolExecutor | None = None

    def resume(self) -> None:
        """Record that the event loop runs this code."""
        self.record.memory[LOOP] = self.mark

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record for the block that the event loop runs this code."""
        previous = self.record.memory[LOOP]
        self.resume()
        try:
            yield
        finally:
            self.record.memory[LOOP] = previous

    @property
    def is_running(self) -> bool:
        """Whether the event loop runs code of this attempt."""
        return bool(self.record.memory[LOOP] == self.mark)

    def suspend(self) -> None:
        """Record that the event loop runs no author's code, because the caller is about to wait."""
        self.record.memory[LOOP] = NO_LEASE


CURRENT_ENTRY: Final[ContextVar[Entry | None]] = ContextVar("headrace_entry", default=None)
"""The entry to which new tasks and threads belong."""


class CrashRecord:
    """The record of one worker process, in a file that outlives it.

    The file holds the worker's id and several attempts: the one that is known to be to blame, the one whose
    code the event loop runs, those whose code runs in threads, and the one whose code was entered last and
    has not ended. Steps in child processes are not recorded: they cannot end the worker. `ProcessWatch`
    appends the id of the thread that is running when the process hangs.
    """

    def __init__(self, path: Path | None, worker: str) -> None:
        """Start the record of *worker* in the file at *path*, in the thread of its event loop.

        None keeps it in memory only.
        """
        self.path = path
        if path is None:
            self.memory = mmap.mmap(-1, _SIZE)
        else:
            with open_private(path, "w+b") as file:
                file.write(bytes(_SIZE))  # a full disk fails here, and not at a later access to the memory
                file.flush()
                self.memory = mmap.mmap(file.fileno(), _SIZE)
        self._running: dict[Entry, None] = {}
        self._free_threads = list(range(_MAX_THREADS))
        self._begun_threads = count(1)
        _THREAD_ID.pack_into(self.memory, _LOOP_THREAD_AT, threading.get_native_id())
        _WORKER.pack_into(self.memory, 0, worker.encode())

    def enter(self, lease: HeldLease) -> Entry:
        """Record that an author's code is entered; the event loop runs it until `Entry.suspend` is called.

        The tasks and threads that this context creates belong to the returned entry; `leave` ends that.
        """
        entry = Entry(self, lease)
        self._running[entry] = None
        self.memory[_ENTERED] = self.memory[LOOP] = entry.mark
        CURRENT_ENTRY.set(entry)
        return entry

    def leave(self, entry: Entry) -> None:
        CURRENT_ENTRY.set(None)
        entry.suspend()
        is_last = next(reversed(self._running)) is entry
        del self._running[entry]
        if is_last:
            last = next(reversed(self._running), None)
            self.memory[_ENTERED] = NO_LEASE if last is None else last.mark

    def call(self, lease: HeldLease, function: Callable[..., T], *arguments: Any) -> T:
        """Call *function*, and record meanwhile that this thread runs it on behalf of *lease*.

        Beyond 1,024 threads at once nothing is recorded.
        """
        try:
            number = self._free_threads.pop()
        except IndexError:
            return function(*arguments)
        at = _THREADS_AT + number * _THREAD.size
        began = next(self._begun_threads)
        _THREAD.pack_into(self.memory, at, threading.get_native_id(), lease[0].bytes, lease[1], began)
        try:
            return function(*arguments)
        finally:
            self.memory[at : at + _THREAD.size] = _NO_THREAD
            self._free_threads.append(number)

    def blame(self, lease: HeldLease) -> None:
        """Record which attempt is to blame if the process ends."""
        self.memory[_BLAMED] = pack_lease(lease)

    def blame_loop(self, *, runs_task: bool, runs_for: HeldLease | None = None) -> HeldLease | None:
        """Blame the attempt whose code blocks the event loop, and return it.

        *runs_task*: the loop is in a task. If it runs no attempt's code, the attempt *runs_for* is blamed, to
        which the task belongs: the worker handles a value of its author. A task of no attempt is the worker's
        own, and nobody is to blame. Else the loop is in a callback, which may be an author's: the last entry
        is blamed.
        """
        memory = self.memory
        lease = _lease(memory, _LOOP_AT) or runs_for or _lease(memory, _BLAMED_AT)
        if lease is None and not runs_task:
            lease = _lease(memory, _ENTERED_AT)
        self.blame(lease or _NOBODY)
        return lease

    def detach(self, memory: Any) -> None:
        """Leave the file to the process that this one was forked from; *memory* takes all later writes."""
        self.memory = memory

    def absolve(self) -> None:
        """Record that nobody is to blame if the process ends, because it is the worker's own fault."""
        if _lease(self.memory, _BLAMED_AT) is None:
            self.blame(_NOBODY)

    def clear(self) -> None:
        """Delete the record, because the process ends in order."""
        self.memory[:] = bytes(_SIZE)


def pack_lease(lease: HeldLease) -> bytes:
    return _LEASE.pack(lease[0].bytes, lease[1])


def read_death(path: Path) -> Death | None:
    """Return how the worker ended whose record is at *path*; None: there is none, or it stopped in order."""
    try:
        record = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(record) < _SIZE:
        return None
    worker = _WORKER.unpack_from(record)[0].rstrip(b"\0").decode(errors="replace")
    if not worker:
        return None
    blamed = _lease(record, _BLAMED_AT) or _culprit(record)
    return Death(worker, None if blamed == _NOBODY else blamed)


def _culprit(record: bytes) -> HeldLease | None:
    """Return the attempt whose code was running at the death, else the one whose code was entered last."""
    loop = _lease(record, _LOOP_AT)
    threads = sorted(_THREAD.iter_unpack(record[_THREADS_AT:_SIZE]), key=lambda row: row[3])
    in_threads = {thread: (UUID(bytes=job_id), fence) for thread, job_id, fence, _ in threads if thread}
    if busy := int(record[_SIZE:] or b"0"):
        is_loop = busy == _THREAD_ID.unpack_from(record, _LOOP_THREAD_AT)[0]
        running = loop if is_loop else in_threads.get(busy)
    else:
        running = loop or next(reversed(in_threads.values()), None)
    return running or _lease(record, _ENTERED_AT)


def _lease(record: "bytes | mmap.mmap", offset: int) -> HeldLease | None:
    job_id, fence = _LEASE.unpack_from(record, offset)
    return (UUID(bytes=job_id), fence) if fence else None
