"""Processes told apart from later ones with the same number, and programs run as another account."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from headrace.adapters.servers.errors import ServerError

_PROC: Final = Path("/proc")
# The launcher's own environment may hold secrets, and PGPORT and its kin would change the servers.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C"}
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process: a number is reused, a number with its start time is not."""

    pid: int
    started: str

    @classmethod
    def from_pid(cls, pid: int) -> "Process | None":
        """The live process with this number; None when there is none or only its zombie."""
        if (_PROC / "self" / "stat").exists():
            try:
                stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
            except OSError:
                return None
            # The name stands in parentheses and may itself hold any of them (proc(5), fields 3 and 22).
            fields = stat.rpartition(")")[2].split()
            state, started = fields[0], fields[19]
        else:
            state, _, started = _ps(pid, "stat=,lstart=").partition(" ")
        return None if state[:1] in {"", "Z", "X"} else cls(pid, started.strip())

    def is_alive(self) -> bool:
        return Process.from_pid(self.pid) == self

    def command(self) -> str:
        """The command line, its arguments joined by blanks; empty when the process is gone."""
        if (_PROC / "self" / "stat").exists():
            try:
                raw = (_PROC / str(self.pid) / "cmdline").read_bytes()
            except OSError:
                return ""
            return os.fsdecode(raw).replace("\0", " ").strip()
        return _ps(self.pid, "command=")

    def runs(self, program: str, argument: str) -> bool:
        """Whether this is *program*, called with exactly *argument* among its arguments."""
        command = self.command()
        return program in command and f" {argument} " in f"{command} "

    def send(self, number: signal.Signals) -> None:
        """Signal the process if it is still this one."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _ps(pid: int, columns: str) -> str:
    answer = subprocess.run(  # noqa: S603 - our own argument list, no shell
        ["ps", "-ww", "-o", columns, "-p", str(pid)],  # noqa: S607 - its folder differs between systems
        capture_output=True,
        text=True,
        errors="replace",
        timeout=10,
        check=False,
        env=_ENVIRONMENT,
    )
    return answer.stdout.strip()


def _as(account: Account | None) -> dict[str, Any]:
    """How a program is run as *account* (None: as ourselves), with nothing of ours but that."""
    common: dict[str, Any] = {"cwd": "/", "env": _ENVIRONMENT, "umask": 0o077}
    if account is None:
        return common
    return common | {"user": account.uid, "group": account.gid, "extra_groups": []}


def run(
    command: Sequence[str | Path], *, account: Account | None = None, timeout_seconds: float = 10
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as *account* (None: as ourselves).

    Raises:
        ServerError: it could not be run at all, or took longer than *timeout_seconds*.
    """
    try:
        return subprocess.run(  # noqa: S603 - our own argument lists, no shell
            [str(part) for part in command],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout_seconds,
            check=False,
            **_as(account),
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{command[0]} did not end within {timeout_seconds:g} s") from error
    except OSError as error:
        raise ServerError(f"cannot run {command[0]}: {(error.strerror or str(error)).lower()}") from error


def spawn(
    command: Sequence[str | Path], *, account: Account | None, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server that lives on when we die; a Ctrl-C of our terminal does not reach it.

    Raises:
        ServerError: it could not be run.
    """
    try:
        return subprocess.Popen(  # noqa: S603 - our own argument lists, no shell
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **_as(account),
        )
    except OSError as error:
        raise ServerError(f"cannot run {command[0]}: {(error.strerror or str(error)).lower()}") from error


def end(
    process: Process,
    signals: Sequence[tuple[signal.Signals, float]],
    child: "subprocess.Popen[bytes] | None" = None,
) -> bool:
    """Send each signal in turn, giving it so many seconds to work; False when the process outlives all."""
    for number, patience_seconds in signals:
        process.send(number)
        deadline = time.monotonic() + patience_seconds
        while True:
            # A child stays a zombie, and makes its Popen complain, until somebody asks for its end.
            gone = child.poll() is not None if child else not process.is_alive()
            if gone:
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    return False
