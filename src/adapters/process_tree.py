"""Keeps processes together on Linux: a process ends with its parent, and orphans are adopted and ended.

Elsewhere these functions do nothing, and a process group is all that ends together.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

KILL_SECONDS: Final = 5.0
"""How long `kill_children` waits for processes that cannot end."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_SECONDS: Final = 0.01


def run_below_init() -> None:
    """Continue in a child if this process is PID 1, as in a container; elsewhere do nothing.

    Linux drops signals that a process sends to PID 1 of its own namespace, even SIGKILL. The parent forwards
    the signals that end the child, reaps orphans, and exits with the child's status. Call it before the
    process starts a thread.
    """
    if os.getpid() != 1:
        return
    # They stay blocked in the parent, which takes them one by one, so that none arrives unnoticed.
    awaited = {*_FORWARDED, signal.SIGCHLD}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        return
    while True:
        number = signal.sigwait(awaited)
        if number == signal.SIGCHLD:
            _exit_with(child)
        else:
            os.kill(child, number)


def _exit_with(child: int) -> None:
    """Reap all children that have ended, and exit with the status of *child* if it is one of them."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                os._exit(code if code >= 0 else 128 - code)


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the system send *number* to this process when the process *parent*, which started it, ends.

    If that has happened already, the signal is sent now.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def kill_children(*, spare: Collection[int] = ()) -> int:
    """Kill and reap all children of this process but *spare*, and the orphans that this makes; count them.

    Only for a process whose other children are all adopted orphans. A child that cannot end, since it waits
    for a device, is left after five seconds.
    """
    ended = 0
    deadline = time.monotonic() + KILL_SECONDS
    while (children := _other_children(spare)) and time.monotonic() < deadline:
        _kill(children)
        ended += reap(children)
        time.sleep(_POLL_SECONDS)
    return ended


def kill_orphans(*, spare: Collection[int]) -> None:
    """Kill all children of this process but *spare*, and reap those that have ended. This does not wait.

    Call it again after each SIGCHLD: an orphan that ends leaves its own children to this process.
    """
    orphans = _other_children(spare)
    _kill(orphans)
    reap(orphans)


def reap(pids: "list[int]") -> int:
    """Reap those of the children *pids* that have ended; return their number."""
    count = 0
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            count += os.waitpid(pid, os.WNOHANG)[0] == pid
    return count


def child_pids() -> list[int]:
    """Return the ids of the children of this process; an empty list where /proc does not tell them."""
    children: list[int] = []
    for task in _tasks():
        with contextlib.suppress(OSError):
            children += map(int, (task / "children").read_text().split())
    return children


def _other_children(spare: Collection[int]) -> list[int]:
    return [pid for pid in child_pids() if pid not in spare]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _tasks() -> list[Path]:
    try:
        return list(Path("/proc/self/task").iterdir())
    except OSError:
        return []


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
