"""Records in a file which attempts run an author's code, so that the death of a worker can be explained."""

import asyncio
import mmap
import struct
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.jobs.attempts.claims import HeldLease

_WORKER: Final = struct.Struct("64s")
_LEASE: Final = struct.Struct("16sI")
_ENTERED_AT: Final = _WORKER.size
_BLAMED_AT: Final = _ENTERED_AT + _LEASE.size
_SIZE: Final = _BLAMED_AT + _LEASE.size
_NO_LEASE: Final = (b"", 0)


class Death(Struct, frozen=True):
    """A worker that ended without stopping in order, and the attempt that is to blame, if that is known."""

    worker: str
    blamed: HeldLease | None


class Entry:
    """An author's code that runs on behalf of *lease*. *task*: the asyncio task that runs it, if any."""

    __slots__ = ("lease", "task")

    def __init__(self, lease: HeldLease) -> None:
        self.lease = lease
        self.task: asyncio.Future[Any] | None = None


class CrashRecord:
    """The record of one worker process, in a file that outlives it.

    The file holds the worker's id, the attempt whose code was entered last and still runs, and the attempt
    that is known to be to blame. Steps in child processes are not recorded: they cannot end the worker.
    """

    def __init__(self, path: Path | None, worker: str) -> None:
        """Start the record of *worker* in the file at *path*. None keeps it in memory only."""
        if path is None:
            self._memory = mmap.mmap(-1, _SIZE)
        else:
            with path.open("w+b") as file:
                file.write(bytes(_SIZE))  # a full disk fails here, and not at a later access to the memory
                file.flush()
                self._memory = mmap.mmap(file.fileno(), _SIZE)
        self._running: dict[Entry, None] = {}
        _WORKER.pack_into(self._memory, 0, worker.encode())

    def enter(self, lease: HeldLease) -> Entry:
        """Record that an author's code is entered; call `leave` with the returned entry when it ends."""
        entry = Entry(lease)
        self._running[entry] = None
        self._write(_ENTERED_AT, lease)
        return entry

    def leave(self, entry: Entry) -> None:
        is_last = next(reversed(self._running)) is entry
        del self._running[entry]
        if is_last:
            last = next(reversed(self._running), None)
            self._write(_ENTERED_AT, None if last is None else last.lease)

    def blame(self, lease: HeldLease) -> None:
        """Record which attempt is to blame if the process ends."""
        self._write(_BLAMED_AT, lease)

    def blame_task(self, task: "asyncio.Task[Any] | None") -> HeldLease | None:
        """Blame the attempt whose code *task* runs, else the one that was entered last; return it."""
        entries = list(self._running)
        lease = next((entry.lease for entry in entries if task is not None and entry.task is task), None)
        lease = lease or self._lease_in_context(task) or _lease(self._memory, _ENTERED_AT)
        if lease is not None:
            self.blame(lease)
        return lease

    def clear(self) -> None:
        """Delete the record, because the process ends in order."""
        self._memory[:] = bytes(_SIZE)

    def _lease_in_context(self, task: "asyncio.Task[Any] | None") -> HeldLease | None:
        """Return the lease of the job in whose context *task* was created. Needs Python 3.12."""
        get_context = getattr(task, "get_context", None)
        if get_context is None:
            return None
        job_ids = {value for variable, value in get_context().items() if variable.name == "structlog_job_id"}
        return next((entry.lease for entry in list(self._running) if str(entry.lease[0]) in job_ids), None)

    def _write(self, offset: int, lease: HeldLease | None) -> None:
        _LEASE.pack_into(self._memory, offset, *(_NO_LEASE if lease is None else (lease[0].bytes, lease[1])))


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
    return Death(worker, _lease(record, _BLAMED_AT) or _lease(record, _ENTERED_AT))


def _lease(record: "bytes | mmap.mmap", offset: int) -> HeldLease | None:
    job_id, fence = _LEASE.unpack_from(record, offset)
    return (UUID(bytes=job_id), fence) if fence else None
