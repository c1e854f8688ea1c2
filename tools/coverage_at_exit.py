"""A plugin of coverage.py: a process that leaves without Python's own end still saves what it has measured.

The child process of a step tells its outcome and leaves by `os._exit`. The worker then closes the socket, and
the child's reading thread kills the process group that it leads, often while the other thread still saves.
With this plugin, which replaces `patch = ["_exit"]`, the first of the two saves and the other one waits.
"""

import contextlib
import os
import threading
from typing import Any, NoReturn

from coverage import Coverage
from coverage.plugin_support import Plugins


def coverage_init(_plugins: Plugins, _options: dict[str, Any]) -> None:
    """Have `os._exit` and `os.killpg` of our own group save first. coverage.py calls this at its start."""
    # Reentrant: a signal's handler may leave while the same thread is leaving.
    leaving = threading.RLock()
    leave, kill = os._exit, os.killpg

    def save_and_leave(status: int) -> NoReturn:
        with leaving:
            _save()
            leave(status)

    def save_and_kill(group: int, number: int) -> None:
        if group != 0:
            return kill(group, number)
        with leaving:
            _save()
            return kill(group, number)

    os._exit, os.killpg = save_and_leave, save_and_kill


def _save() -> None:
    """Write the data file; an error here must not stop the exit."""
    with contextlib.suppress(Exception):
        if current := Coverage.current():
            current.save()
