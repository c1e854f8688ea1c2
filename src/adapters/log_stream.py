"""Writes log lines to standard error without ever holding up or failing the code that logs."""

import atexit
import contextlib
import logging
import os
import queue
import select
import stat
import sys
import threading
import time
import traceback
from typing import Any, Final, Protocol, TextIO

MAX_WAITING_LINES: Final = 2_000
_EXIT_SECONDS: Final = 1.0
_MAX_WAIT_SECONDS: Final = 1.0
# As much as a pipe that is writable takes without a wait.
_PIPE_BYTES: Final = select.PIPE_BUF
_POLL_SECONDS: Final = 0.01


class LogStream(Protocol):
    """What a handler needs of a stream."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


class LogHandler(logging.StreamHandler[Any]):
    """A handler that drops a line if its stream is closed or its disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (the name in `logging`)
        """Show an error of the formatting on the process's own stream: `sys.stderr` may lead back to here."""
        with contextlib.suppress(OSError, ValueError):
            if not isinstance(sys.exc_info()[1], OSError | ValueError):
                traceback.print_exc(file=sys.__stderr__)


class PatientStream:
    """A stream for log lines over a pipe, a terminal or a file, whose reader may be slow.

    A file is written at once. For all others a thread writes, which is started with the first line. While
    the reader is too slow, up to 2,000 lines wait. Those that do not fit are counted, and the count is
    written when there is room again.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._dropped = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> int:
        """Write *text*, or queue it; never raise and never wait for a reader."""
        line = text.encode(errors="replace")
        if self._is_file:
            self._write_all(line)
        elif self._lines.qsize() >= MAX_WAITING_LINES:
            self._dropped += 1
        else:
            if dropped := self._dropped:
                self._dropped = 0
                self._lines.put(
                    f"{dropped} log lines were dropped: standard error was read too slowly\n".encode()
                )
            self._lines.put(line)
            if self._thread is None:
                self._start_thread()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes each line as soon as it can."""

    def drain(self, seconds: float = _EXIT_SECONDS) -> None:
        """Wait until all lines are written, at most for *seconds*."""
        deadline = time.monotonic() + seconds
        while (self._lines.qsize() or self._is_writing) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="headrace-log", daemon=True)
        self._thread.start()
        atexit.register(self.drain)

    def _run(self) -> None:
        while True:
            self._is_writing = False
            line = self._lines.get()
            self._is_writing = True
            self._write_all(line)

    def _write_all(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # a closed reader or a full disk
            while line:
                line = line[os.write(self._descriptor, line) :]


class BoundedStream:
    """A stream for the log lines of a process that may wait, and that may be forked: it needs no thread.

    It waits for a slow reader for a second. Later lines are dropped until the reader has read.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._wait_seconds = _MAX_WAIT_SECONDS

    def write(self, text: str) -> int:
        """Write *text*, or drop it; never raise."""
        line = text.encode(errors="replace")
        with contextlib.suppress(OSError):
            while line and self._is_writable():
                line = line[os.write(self._descriptor, line[:_PIPE_BYTES]) :]
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is written at once."""

    def _is_writable(self) -> bool:
        is_writable = bool(self._poll.poll(self._wait_seconds * 1000))
        self._wait_seconds = _MAX_WAIT_SECONDS if is_writable else 0.0
        return is_writable


_streams: Final[list[PatientStream]] = []


def patient_stderr() -> PatientStream | TextIO:
    """Return a stream over the descriptor of standard error, or standard error itself if it has none."""
    try:
        stream = PatientStream(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return sys.stderr
    _streams.append(stream)
    return stream


def bounded_stderr() -> BoundedStream | TextIO:
    """Return a stream as `patient_stderr` does, for a process of steps."""
    try:
        return BoundedStream(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return sys.stderr


def drain_logs() -> None:
    """Write what is still queued, for a second at most: for processes that end without `atexit`."""
    for stream in _streams:
        stream.drain()
