"""Identifies processes safely when process ids are reused, and runs programs as another account."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from headrace.adapters.servers.accounts import Account
from headrace.adapters.servers.errors import ServerError

_PROC: Final = Path("/proc")
# The launcher's environment may hold secrets, and variables such as PGPORT would change the servers.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C"}
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One process, identified by its id and its start time, because ids are reused."""

    pid: int
    started: str

    @classmethod
    def from_pid(cls, pid: int) -> "Process | None":
        """Return the live process with this id; None if there is none or only its zombie."""
        if (_PROC / "self" / "stat").exists():
            try:
                stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
            except OSError:
                return None
            # The name is in parentheses and may itself contain parentheses (proc(5), fields 3 and 22).
            fields = stat.rpartition(")")[2].split()
            state, started = fields[0], fields[19]
        else:
            state, _, started = _ps(pid, "stat=,lstart=").partition(" ")
        return None if state[:1] in {"", "Z", "X"} else cls(pid, started.strip())

    def is_alive(self) -> bool:
        return Process.from_pid(self.pid) == self

    def command(self) -> str:
        """Return the command line, joined by spaces; empty if the process has ended."""
        if (_PROC / "self" / "stat").exists():
            try:
                raw = (_PROC / str(self.pid) / "cmdline").read_bytes()
            except OSError:
                return ""
            return os.fsdecode(raw).replace("\0", " ").strip()
        return _ps(self.pid, "command=")

    def runs(self, program: str, argument: str) -> bool:
        """Return whether this process runs *program* with *argument* among its arguments."""
        command = self.command()
        return program in command and f" {argument} " in f"{command} "

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the id now belongs to another process."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _ps(pid: int, columns: str) -> str:
    completed = subprocess.run(  # noqa: S603 - our own argument list, no shell
        ["ps", "-ww", "-o", columns, "-p", str(pid)],  # noqa: S607 - its folder differs between systems
        capture_output=True,
        text=True,
        errors="replace",
        timeout=10,
        check=False,
        env=_ENVIRONMENT,
    )
    return completed.stdout.strip()


def _run_options(account: Account | None) -> dict[str, Any]:
    """Return the options to run a program as *account* (None: the current user) in a clean environment."""
    common: dict[str, Any] = {"cwd": "/", "env": _ENVIRONMENT, "umask": 0o077}
    if account is None:
        return common
    return common | {"user": account.uid, "group": account.gid, "extra_groups": []}


def run(
    command: Sequence[str | Path], *, account: Account | None = None, timeout_seconds: float = 10
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as *account* (None: the current user).

    Raises:
        ServerError: the program cannot be run, or takes longer than *timeout_seconds*.
    """
    try:
        return subprocess.run(  # noqa: S603 - our own argument lists, no shell
            [str(word) for word in command],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout_seconds,
            check=False,
            **_run_options(account),
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{command[0]} did not end within {timeout_seconds:g} s") from error
    except OSError as error:
        raise ServerError(f"cannot run {command[0]}: {(error.strerror or str(error)).lower()}") from error


def spawn(
    command: Sequence[str | Path], *, account: Account | None, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server that survives this process and does not receive Ctrl-C from its terminal.

    Raises:
        ServerError: the program cannot be run.
    """
    try:
        return subprocess.Popen(  # noqa: S603 - our own argument lists, no shell
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **_run_options(account),
        )
    except OSError as error:
        raise ServerError(f"cannot run {command[0]}: {(error.strerror or str(error)).lower()}") from error


def stop_process(
    process: Process,
    signals: Sequence[tuple[signal.Signals, float]],
    child: "subprocess.Popen[bytes] | None" = None,
) -> bool:
    """Send each signal in turn and wait its timeout in seconds. Returns False if the process survives all."""
    for number, timeout_seconds in signals:
        process.send(number)
        deadline = time.monotonic() + timeout_seconds
        while True:
            # A child stays a zombie until `poll` collects its exit status.
            has_ended = child.poll() is not None if child else not process.is_alive()
            if has_ended:
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    return False
