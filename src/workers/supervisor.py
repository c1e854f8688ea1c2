"""`headrace worker`: a small parent process that keeps one worker process alive.

It imports no pipelines and opens no connections, so it survives a crash of the worker.
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

from headrace.adapters.retry_pause import RetryPause

_log = structlog.get_logger(__name__)

REFUSED_EXIT: Final = 78
"""The exit status of a worker whose start cannot succeed, so that it is not restarted."""
_MIN_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 5.0
_HEALTHY_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


def supervise(command: Sequence[str], *, stop_seconds: float) -> int:
    """Run *command* and restart it whenever it ends, until SIGTERM or SIGINT; return the exit status.

    The signals are forwarded as SIGTERM. A worker that runs *stop_seconds* longer is killed. The pause before
    a restart doubles from 0.2 s to 5 s, and starts again after a worker that ran for 10 s.
    """
    signals: list[int] = []
    worker: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    pause = RetryPause(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
    while not signals:
        began = time.monotonic()
        worker = subprocess.Popen(command, process_group=0)  # noqa: S603  (our own command line)
        if signals:  # the signal came between the check above and the start
            worker.send_signal(signal.SIGTERM)
        status = _wait(worker, signals, stop_seconds)
        if signals or status == REFUSED_EXIT:
            return status if not signals else 0
        if time.monotonic() - began > _HEALTHY_SECONDS:
            pause.reset()
        pause_seconds = pause.next_seconds()
        _log.error("worker_ended", status=status, restart_in_seconds=pause_seconds)
        time.sleep(pause_seconds)
    return 0


def end_with_parent() -> None:
    """Have Linux send this process a SIGTERM when its parent dies, even if the parent is killed."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def _wait(worker: "subprocess.Popen[bytes]", signals: list[int], stop_seconds: float) -> int:
    """Wait for the end of *worker*; kill it when it runs *stop_seconds* longer than a signal allows."""
    deadline: float | None = None
    while True:
        try:
            return worker.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            if not signals:
                continue
            if deadline is None:
                deadline = time.monotonic() + stop_seconds
            elif time.monotonic() > deadline:
                _log.error("worker_killed", reason="it did not stop in time")
                worker.kill()
