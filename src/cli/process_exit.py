"""Ends a process of the service with its parent, and without waiting for abandoned steps."""

import os
import signal
import sys
import threading
from typing import NoReturn


def terminate_when_stdin_closes() -> None:
    """Send ourselves a SIGTERM when standard input closes: `up` holds its other end and never writes.

    Unlike a parent's death signal this works on every system, even if the parent ends before this call.
    """
    threading.Thread(target=_wait_for_stdin, name="exit-with-parent", daemon=True).start()


def exit_now(status: int) -> NoReturn:
    """End the process now. An abandoned step in the loop would keep `asyncio.run` waiting forever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait_for_stdin() -> None:
    # Read the descriptor: a buffered read would hold a lock that the interpreter needs when it exits.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
