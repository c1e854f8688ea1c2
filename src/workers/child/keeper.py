"""Keeps a step's process together with all processes that it starts, and ends them with it.

The keeper is the parent of the step's process. It adopts orphans, so not even a process in a session of its
own outlives the step, however the step, its worker or the worker's supervisor ends.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from headrace.adapters.process_tree import adopt_orphans, end_with_parent, kill_children


class _EndedError(Exception):
    """The step is to end now."""


def run_kept(run: Callable[[], None], *, parent: int, close: Callable[[], None]) -> None:
    """Fork: call *run* in the new process and return there; this process is its keeper and never returns.

    SIGTERM, or the end of the process *parent*, ends the step with everything that it started. The keeper
    exits as the step's process did. *close* closes what only the step's process uses.
    """
    signal.signal(signal.SIGTERM, _end)
    adopt_orphans()
    end_with_parent(parent, signal.SIGTERM)
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)  # a step that kills its process group must not kill its keeper
        end_with_parent(keeper, signal.SIGKILL)
        run()
    else:
        _keep(pid, close)


def _end(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _EndedError


def _keep(pid: int, close: Callable[[], None]) -> NoReturn:
    status = int(signal.SIGKILL)  # as `waitpid` gives it
    try:
        close()
        ended = 0
        while ended != pid:
            ended, ended_status = os.waitpid(-1, 0)  # reaps orphans as well
        status = ended_status
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except _EndedError:
        pass
    kill_children()
    if sys.platform != "linux":  # orphans are not adopted, but the process group of the step ends
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    _exit_like(status)


def _exit_like(status: int) -> NoReturn:
    """End this process with the same exit status or signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
