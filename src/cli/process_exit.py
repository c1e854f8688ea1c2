"""Ends a process of the service with its parent, and without waiting for abandoned steps."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from headrace.adapters.log_stream import drain_logs
from headrace.workers.stop_requests import note_stop


def terminate_when_stdin_closes(crash_record: Path | None = None) -> None:
    """Send ourselves a SIGTERM when standard input closes: `up` holds its other end and never writes.

    Unlike a parent's death signal this works on every system, even if the parent ends before this call.
    *crash_record*: that of a worker, which stops only if this is noted there.
    """
    thread = threading.Thread(
        target=_wait_for_stdin, args=(crash_record,), name="exit-with-parent", daemon=True
    )
    thread.start()


def exit_now(status: int) -> NoReturn:
    """End the process now. An abandoned step in the loop would keep `asyncio.run` waiting forever."""
    # A step or a closed pipe may have left a stream that cannot be flushed.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    drain_logs()
    os._exit(status)


def _wait_for_stdin(crash_record: Path | None) -> None:
    # Read the descriptor: a buffered read would hold a lock that the interpreter needs when it exits.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    if crash_record is not None:
        note_stop(crash_record)
    os.kill(os.getpid(), signal.SIGTERM)
