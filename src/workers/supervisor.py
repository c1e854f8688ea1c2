"""`headrace worker`: a small parent process that keeps one worker process alive.

It imports no pipelines and opens no connections, so it survives a crash of the worker.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from headrace.adapters.process_tree import adopt_orphans, child_pids, kill_children, reap
from headrace.adapters.retry_pause import RetryPause
from headrace.adapters.temporary_folders import remove_abandoned_folders, temporary_folder
from headrace.workers.stop_requests import note_stop

_log = structlog.get_logger(__name__)

REFUSED_EXIT: Final = 78
"""The exit status of a worker whose start cannot succeed, so that it is not restarted."""
RESTARTED: Final = "--restarted"
"""The option of a process whose predecessor has worked: then what would refuse a first start may pass."""
_MIN_PAUSE_SECONDS: Final = 0.2
# The next worker must start before the leases of a worker that died have run out.
_MAX_PAUSE_SECONDS: Final = 5.0
# A worker that was killed because it hung has run for longer.
_HEALTHY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1


def supervise(command: Sequence[str], *, stop_seconds: float) -> int:
    """Run *command* and restart it whenever it ends, until SIGTERM or SIGINT; return the exit status.

    The signals are forwarded as SIGTERM. A worker that runs *stop_seconds* longer is killed; a second SIGINT
    kills it at once. The pause before a restart doubles from 0.2 s to 5 s, and starts again after a worker
    that ran for 5 s.
    """
    with temporary_folder() as folder:
        crash_record = folder / "worker.crash"
        options = ("--parent", str(os.getpid()), "--crash-record", str(crash_record))
        status = _Supervisor((*command, *options), crash_record, stop_seconds).run()
    # A worker that was killed has left its scratch folder.
    remove_abandoned_folders()
    return status


class _Supervisor:
    """Runs one worker process after another.

    Each gets the crash record of its predecessor, so that it can requeue the predecessor's jobs and blame the
    right one. All processes that a worker leaves behind are killed.
    """

    def __init__(self, command: Sequence[str], crash_record: Path, stop_seconds: float) -> None:
        self._command = command
        self._crash_record = crash_record
        self._stop_seconds = stop_seconds
        self._worker: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None
        self._interrupts = 0
        self._others: frozenset[int] = frozenset()

    def run(self) -> int:
        # An entrypoint may have started processes before it became this one.
        self._others = frozenset(child_pids())
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        pause = RetryPause(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
        while self._kill_at is None:
            began = time.monotonic()
            status = self._run_worker()
            if self._kill_at is not None:
                break
            if status == REFUSED_EXIT:
                return status
            if time.monotonic() - began > _HEALTHY_SECONDS:
                pause.reset()
            pause_seconds = pause.next_seconds()
            _log.error("worker_ended", status=status, restart_in_seconds=pause_seconds)
            self._sleep(pause_seconds)
        return 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._stop_seconds
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            self._kill_at = 0.0
        if self._worker is not None and self._worker.returncode is None:
            note_stop(self._crash_record)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker.pid, signal.SIGTERM)

    def _run_worker(self) -> int:
        """Run a worker to its end, and kill the processes that it leaves behind; return its exit status."""
        # A worker keeps its record once it is registered.
        command = [*self._command, *([RESTARTED] if self._crash_record.exists() else [])]
        worker = self._worker = subprocess.Popen(command, process_group=0)  # noqa: S603  (our own command line)
        if self._kill_at is not None:  # the signal came between the check and the start
            note_stop(self._crash_record)
            worker.send_signal(signal.SIGTERM)
        is_killed = False
        while worker.poll() is None:
            time.sleep(_POLL_SECONDS)
            # Orphans of the worker's own children end up here.
            reap([pid for pid in child_pids() if pid != worker.pid and pid not in self._others])
            if self._kill_at is not None and time.monotonic() > self._kill_at and not is_killed:
                is_killed = True
                reason = "interrupted twice" if self._interrupts > 1 else "it did not stop in time"
                _log.error("worker_killed", reason=reason)
                worker.kill()
        if orphans := kill_children(spare=self._others):
            _log.info("orphans_killed", count=orphans)
        return worker.returncode

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._kill_at is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
