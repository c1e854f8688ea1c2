"""One part of the service as a process that is kept alive: the API or a worker."""

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
from pathlib import Path
from typing import Final

from headrace.cli.process_logs import LogReader, notable, open_log, refusal
from headrace.domain.errors import HeadraceError
from headrace.workers.supervisor import REFUSED_EXIT

_SHORTEST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_HEALTHY_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1

Say = Callable[[str, str], None]


class StartRefusedError(HeadraceError):
    """A part does not start for a reason that another start does not mend."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(reason)
        self.label = label


def headrace_command() -> list[str]:
    """How this very installation is called from a shell."""
    for program in (Path(sys.argv[0]), Path(sys.executable).with_name("headrace")):
        if program.name == "headrace" and os.access(program, os.X_OK):
            return [str(program.absolute())]
    found = shutil.which("headrace")
    return [found] if found else [sys.executable, "-c", "from headrace.cli.main import main; main()"]


class ManagedProcess:
    """A process with a log file of its own; whatever ends it, it is started again."""

    def __init__(self, label: str, arguments: Sequence[str], log_dir: Path, say: Say) -> None:
        """*say* is told what the user should read: who speaks, and the line."""
        self.label = label
        self.log_file = log_dir / f"{label.replace(' ', '-')}.log"
        self.is_announced = False
        self._command = [*headrace_command(), *arguments]
        self._say = say
        self._reader = LogReader(self.log_file)
        self._recent: deque[str] = deque(maxlen=50)
        self._process: Process | None = None
        self._stopping = False
        self._restarting = False
        self._wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep it running from now on; `task` ends with a PartRefusedError if it refuses to start."""
        self.task = asyncio.create_task(self._keep(), name=self.label)

    async def _keep(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._stopping:
            began = time.monotonic()
            status = await self._run_once()
            if self._stopping:
                return
            if self._restarting:
                self._restarting = False
                continue
            if status == REFUSED_EXIT:
                reason = refusal(list(self._recent)) or f"it refused to start: see {self.log_file}"
                raise StartRefusedError(self.label, reason)
            if time.monotonic() - began > _HEALTHY_SECONDS:
                pause = _SHORTEST_PAUSE
            self._say(self.label, f"ended ({_told(status)}): it starts again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.clear()
            pause = min(pause * 2, _LONGEST_PAUSE)

    def restart(self) -> None:
        """Have it end in order and start anew; one that waits for its next start gets it now."""
        self._wake.set()
        if self._process is not None and self._process.returncode is None:
            self._restarting = True
            self._signal(signal.SIGTERM)

    async def stop(self, patience_seconds: float, hurry: asyncio.Event) -> None:
        """End it: gently, and by force after *patience_seconds* or once *hurry* is set."""
        self._stopping = True
        self._wake.set()
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + patience_seconds
        while self.task is not None and not self.task.done():
            if hurry.is_set() or time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            await asyncio.wait({self.task}, timeout=_LOOK_SECONDS)

    async def _run_once(self) -> int:
        self._wake.clear()
        self.is_announced = False
        with open_log(self.log_file) as log:
            # A group of its own: the Ctrl-C of our terminal is ours to pass on. Our session, so that
            # whoever ends that ends all.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, process_group=0
            )
        if self._stopping:
            self._signal(signal.SIGTERM)
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
                self._read_log()
        finally:
            ended.cancel()
        return self._process.returncode or 0

    def _read_log(self) -> None:
        for line in self._reader.new_lines():
            self._recent.append(line)
            if "worker_ready" in line:
                self.is_announced = True
            if (text := notable(line)) is not None:
                self._say(self.label, text)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def _told(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
