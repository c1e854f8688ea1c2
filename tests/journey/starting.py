"""Runs the `headrace` command as a user does: as a separate process with its own data folder."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.patience import PATIENCE_SECONDS
from support.scratch import make_server_folder

HEADRACE = str(Path(sys.executable).with_name("headrace"))
_FOREIGN_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}


class RunningCommand:
    """A running command whose output is read line by line, with a timeout."""

    def __init__(self, *command: str, cwd: Path | None = None, **environment: str) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=_FOREIGN_ENVIRONMENT | environment,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=read) for read in (self._read_lines, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def line(self, containing: str = "", timeout: float = 180) -> str:
        """Return the next line of standard output that contains *containing*."""
        deadline = time.monotonic() + timeout
        while True:
            line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))
            if line is None:
                raise AssertionError(f"ended without {containing!r}: {self.errors()}")
            if containing in line:
                return line

    def lines_before(self, containing: str) -> list[str]:
        """Return the lines before the next line that contains *containing*."""
        lines = [self.line()]
        while containing not in lines[-1]:
            lines.append(self.line())
        return lines[:-1]

    def rest(self) -> list[str]:
        """Return all lines up to the end of the output."""
        lines = []
        while (line := self._lines.get(timeout=PATIENCE_SECONDS)) is not None:
            lines.append(line)
        return lines

    def wait(self, timeout: float = 180) -> int:
        """Wait until the command ends. Return its exit status."""
        return self.process.wait(timeout)

    def error_line(self, containing: str) -> None:
        """Wait until a line of standard error contains *containing*."""
        until(lambda: any(containing in line for line in list(self._errors)))

    def errors(self) -> str:
        """Wait until the command ends. Return its standard error."""
        self.process.wait(PATIENCE_SECONDS)
        self._readers[1].join(PATIENCE_SECONDS)
        return "".join(self._errors)

    def end(self) -> None:
        """Stop the command, and kill all other processes of its session."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pid in in_session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)


@contextmanager
def running(
    *arguments: str, program: str = HEADRACE, cwd: Path | None = None, **environment: str
) -> Iterator[RunningCommand]:
    """Run the command during the block."""
    command = RunningCommand(program, *arguments, cwd=cwd, **environment)
    try:
        yield command
    finally:
        command.end()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a data folder for the command."""
    folder = make_server_folder("headrace-cli-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Up:
    """A running `headrace up` that is ready."""

    def __init__(self, command: RunningCommand, folder: Path, url: str) -> None:
        self.command = command
        self.folder = folder
        self.url = url
        self.program = HEADRACE

    def call(self, *arguments: str, timeout: float = 180) -> "subprocess.CompletedProcess[str]":
        """Run a client command to its end."""
        return call(*arguments, timeout=timeout, HEADRACE_URL=self.url)

    def submit(self, *arguments: str) -> str:
        """Submit a job. Return its id."""
        result = self.call("submit", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def part(self, name: str) -> int:
        """Return the process id of the part *name* (`api` or `worker`)."""
        (pid,) = [
            pid for pid in in_session(self.command.process.pid) if f"headrace {name}" in command_of(pid)
        ]
        return pid

    def server(self, name: str) -> int:
        """Return the process id of the server *name* (`postgres` or `redis`)."""
        files = list(self.folder.rglob("server.json"))
        (state,) = [json.loads(file.read_text()) for file in files if file.parent.name == name]
        return int(state["pid"])


@contextmanager
def up(folder: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> Iterator[Up]:
    """Run `headrace up` on a free port. The block starts when it is ready."""
    options = ("--port", "0", "--data-dir", str(folder), *arguments)
    with running("up", *options, program=HEADRACE, cwd=cwd, **environment) as command:
        url = command.line("address").split()[-1]
        command.line("try")
        yield Up(command, folder, url)


def call(
    *arguments: str,
    program: str = HEADRACE,
    cwd: Path | None = None,
    timeout: float = 180,
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [program, *arguments],
        cwd=cwd,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
        env=_FOREIGN_ENVIRONMENT | environment,
    )


def in_session(sid: int) -> list[int]:
    """Return the ids of the live processes of a session."""
    listing = subprocess.run(["ps", "-axo", "pid=,sess=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listing.stdout.splitlines()]
    return [int(pid) for pid, session, state in rows if int(session) == sid and not state.startswith("Z")]


def over_folder(folder: Path) -> list[str]:
    """Return the command lines that name the folder: those of its servers and its `up`."""
    listing = subprocess.run(["ps", "-axww", "-o", "args="], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if str(folder) in line]


def command_of(pid: int) -> str:
    result = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)  # noqa: PLW1510
    return result.stdout.strip()


def until_gone(sid: int) -> None:
    """Wait until the last process of a session has ended; no parent process reports it."""
    until(lambda: not in_session(sid))


def until(condition: Callable[[], bool]) -> None:
    """Poll until *condition* holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
