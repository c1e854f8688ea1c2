"""Runs commands as PID 1 of a namespace of their own, as in a container."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

_UNSHARE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def require_namespace() -> tuple[str, ...]:
    """Return the command that runs another one as PID 1 of its own namespace; skip where that is refused."""
    if shutil.which("unshare") is None or subprocess.run([*_UNSHARE, "true"], check=False).returncode != 0:
        pytest.skip("this user may not create a PID namespace")
    return _UNSHARE


def pid_of_init(outside: int) -> int:
    """Return the id, outside of the namespace, of its PID 1. *outside* is the process that made it."""
    (init,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
    return int(init)
