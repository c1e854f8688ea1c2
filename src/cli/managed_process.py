"""One process of the service, the API or a worker, that is restarted when it ends."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Final

from headrace.adapters.log_files import open_log, rotate_open_log
from headrace.adapters.private_files import make_private_folder
from headrace.adapters.retry_pause import RetryPause
from headrace.adapters.tasks import retrieve_exception
from headrace.cli.process_logs import LogReader, find_refusal, notable
from headrace.domain.errors import HeadraceError
from headrace.workers.stop_requests import note_stop
from headrace.workers.supervisor import REFUSED_EXIT, RESTARTED

_MIN_PAUSE_SECONDS: Final = 0.2
# As in the supervisor: a worker that died or hung is replaced before its leases have run out.
_MAX_PAUSE_SECONDS: Final = 5.0
_HEALTHY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1

Report = Callable[[str, str], None]
"""Shows a line to the user: the name of its source, and the text."""


class StartRefusedError(HeadraceError):
    """A process refuses to start, for a reason that a restart does not repair."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(reason)
        self.label = label


def headrace_command() -> list[str]:
    """Return the command line that runs this installation."""
    for program in (Path(sys.argv[0]), Path(sys.executable).with_name("headrace")):
        if program.name == "headrace" and os.access(program, os.X_OK):
            return [str(program.absolute())]
    on_path = shutil.which("headrace")
    return [on_path] if on_path else [sys.executable, "-c", "from headrace.cli.main import main; main()"]


class ManagedProcess:
    """A process with its own log file that is restarted however it ends."""

    def __init__(
        self,
        label: str,
        arguments: Sequence[str],
        log_dir: Path,
        report: Report,
        *,
        crash_record: Path | None = None,
    ) -> None:
        """Describe the process. *report* receives the warnings of its log, and its ends.

        *crash_record*: that of a worker, which stops only if this is noted there.
        """
        self.label = label
        self.log_file = log_dir / f"{label.replace(' ', '-')}.log"
        self._is_announced = False
        self._command = [*headrace_command(), *arguments]
        self._report = report
        self._crash_record = crash_record
        self._reader = LogReader(self.log_file)
        self._recent: deque[str] = deque(maxlen=50)
        self._process: Process | None = None
        self._stopping = False
        self._restarting = False
        self._has_worked = False
        self._kill_at = inf
        self._wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def is_announced(self) -> bool:
        """Whether the worker that runs now has logged that it is ready."""
        return self._is_announced and not self._restarting

    @property
    def is_restarting(self) -> bool:
        """Whether a process still runs that is to be replaced."""
        return self._restarting

    def start(self) -> None:
        """Start the process and keep it running. `task` fails with a StartRefusedError if it refuses."""
        self.task = asyncio.create_task(self._keep_running(), name=self.label)
        # Several processes may refuse for the same reason, and only one of them is reported.
        self.task.add_done_callback(retrieve_exception)

    async def _keep_running(self) -> None:
        pause = RetryPause(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
        while not self._stopping:
            started = time.monotonic()
            status = await self._run_once()
            if self._stopping:
                return
            is_healthy = time.monotonic() - started > _HEALTHY_SECONDS
            self._has_worked |= self._is_announced or is_healthy
            if self._restarting:
                self._restarting, self._kill_at = False, inf
                continue
            if status == REFUSED_EXIT:
                reason = find_refusal(list(self._recent)) or f"it refused to start: see {self.log_file}"
                raise StartRefusedError(self.label, reason)
            if is_healthy:
                pause.reset()
            pause_seconds = pause.next_seconds()
            self._report(self.label, f"ended ({_describe_exit(status)}): it restarts in {pause_seconds:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_seconds)
            self._wake.clear()

    def restart(self, timeout_seconds: float) -> None:
        """Stop the process, with SIGKILL after *timeout_seconds*, and start it again, without a pause."""
        self._wake.set()
        self._has_worked |= self._is_announced
        self._is_announced = False
        if self._process is not None and self._process.returncode is None:
            self._restarting = True
            self._kill_at = time.monotonic() + timeout_seconds
            self._terminate()

    async def stop(self, timeout_seconds: float, hurry: asyncio.Event) -> None:
        """Stop the process with SIGTERM, and with SIGKILL after *timeout_seconds* or once *hurry* is set."""
        self._stopping = True
        self._wake.set()
        self._kill_at = time.monotonic() + timeout_seconds
        self._terminate()
        while self.task is not None and not self.task.done():
            if hurry.is_set():
                self._signal(signal.SIGKILL)
            await asyncio.wait({self.task}, timeout=_POLL_SECONDS)

    async def _run_once(self) -> int:
        self._wake.clear()
        self._is_announced = False
        make_private_folder(self.log_file.parent)
        with open_log(self.log_file) as log:
            # Its own process group, because we pass on the Ctrl-C of the terminal. Our session, so that
            # the end of the session ends all processes.
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                *([RESTARTED] if self._has_worked else []),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        if self._stopping:
            self._terminate()
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=_POLL_SECONDS)
                if time.monotonic() > self._kill_at:
                    self._signal(signal.SIGKILL)
                self._read_log()
        finally:
            ended.cancel()
        # Processes that a step in the loop or in a thread has started must not outlive their worker.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.returncode or 0

    def _read_log(self) -> None:
        for line in self._reader.new_lines():
            self._recent.append(line)
            if "worker_ready" in line:
                self._is_announced = True
            if (text := notable(line)) is not None:
                self._report(self.label, text)
        rotate_open_log(self.log_file)

    def _terminate(self) -> None:
        if self._crash_record is not None:
            note_stop(self._crash_record)
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
