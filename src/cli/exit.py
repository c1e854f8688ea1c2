"""How a part ends: with whoever started it, and without waiting for what cannot be ended."""

import os
import signal
import sys
import threading
from typing import NoReturn


def end_with_starter() -> None:
    """Send ourselves a SIGTERM as soon as standard input ends: `up` holds its other end and never writes.

    Unlike a parent's death signal this works on every system, and a starter that was gone before we asked is
    noticed too.
    """
    threading.Thread(target=_wait_for_end, name="end-with-starter", daemon=True).start()


def leave(status: int) -> NoReturn:
    """End the process now. A step that was given up in the loop would keep `asyncio.run` waiting for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait_for_end() -> None:
    # The file itself: a buffered read would hold a lock that the interpreter wants at its end.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
