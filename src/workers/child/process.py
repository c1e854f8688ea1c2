"""Starts child processes without a fork of this one's memory, and awaits their exit in the event loop."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.adapters.process_tree import KILL_SECONDS
from headrace.workers.containment import call_in_thread

# A keeper takes this long to kill processes that cannot end.
_END_SECONDS: Final = KILL_SECONDS + 1.0


class ProcessHandle:
    """A process that leads a process group of its own. *pid* is None until the process has started.

    *is_interrupted*: it ended because the fork server has ended, which is not the fault of its step.
    """

    def __init__(self, pid: int | None, exit_status: "asyncio.Future[int]") -> None:
        self.pid = pid
        self.is_interrupted = False
        self._exit = exit_status

    @property
    def status(self) -> int | None:
        """The exit status; negative: the number of the signal that ended it. None: it still runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> int:
        """Wait for the exit and return the status."""
        return await asyncio.shield(self._exit)

    def end(self) -> None:
        """Ask the process to end, and kill its process group six seconds later.

        Call this in the event loop.
        """
        if self.pid is None or self.status is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGTERM)
        asyncio.get_running_loop().call_later(_END_SECONDS, self._kill_if_running)

    def _kill_if_running(self) -> None:
        if self.status is None:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Child(ProcessHandle):
    """A child process of this one. Processes that it starts belong to its process group."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: str | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start the process. It inherits *descriptors*, open file descriptors of this process.

        `asyncio.create_subprocess_exec` would fork, which takes longer the more memory this process has.

        Raises:
            OSError: it cannot be started.
        """
        process = subprocess.Popen(  # noqa: S603  (our own command lines)
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            process_group=0,
            cwd=folder,
            env=environment,
        )
        super().__init__(process.pid, call_in_thread(f"headrace-child-{process.pid}", process.wait))
