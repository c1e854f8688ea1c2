"""`headrace worker`: a small parent that keeps one worker process alive.

It imports no pipeline and holds no connection, so whatever kills the worker leaves it standing.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

# The worker refused to start for a reason that a restart does not mend.
REFUSED_EXIT: Final = 78
_SHORTEST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_HEALTHY_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


def supervise(command: Sequence[str], *, stop_seconds: float) -> int:
    """Run *command* until told to stop, starting it again whenever it ends; returns the exit status.

    SIGTERM and SIGINT are passed on; a worker that does not end within *stop_seconds* is killed.
    """
    stopping: list[int] = []
    worker: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    pause = _SHORTEST_PAUSE
    while not stopping:
        began = time.monotonic()
        worker = subprocess.Popen(command, process_group=0)  # noqa: S603  (our own command line)
        if stopping:  # told between the look above and the start
            worker.send_signal(signal.SIGTERM)
        status = _wait(worker, stopping, stop_seconds)
        if stopping or status == REFUSED_EXIT:
            return status if not stopping else 0
        if time.monotonic() - began > _HEALTHY_SECONDS:
            pause = _SHORTEST_PAUSE
        _log.error("worker_ended", status=status, restart_in_seconds=pause)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    return 0


def end_with_parent() -> None:
    """Ask Linux to send this process a SIGTERM when its parent dies, however it dies."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def _wait(worker: "subprocess.Popen[bytes]", stopping: list[int], stop_seconds: float) -> int:
    deadline: float | None = None
    while True:
        try:
            return worker.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            if not stopping:
                continue
            if deadline is None:
                deadline = time.monotonic() + stop_seconds
            elif time.monotonic() > deadline:
                _log.error("worker_killed", reason="it did not stop in time")
                worker.kill()
