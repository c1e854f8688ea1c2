"""Starts, adopts and stops one server process, in the same way for PostgreSQL and Redis."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Final

import msgspec

from headrace.adapters.servers.binaries import Kind, PostgresBinaries, RedisBinaries, Source
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.folders import Home, open_server_log, write_private
from headrace.adapters.servers.processes import POLL_SECONDS, Process, spawn, stop_process

_START_SECONDS: Final = 60  # long enough for crash recovery
_ADOPT_SECONDS: Final = 5
_MAX_ATTEMPTS: Final = 5
_STATE_FILE: Final = "server.json"


class _State(msgspec.Struct, frozen=True):
    """The state file for the next launcher. *pid* is None while the server is stopped or starting."""

    kind: Kind
    version: str
    port: int
    pid: int | None = None
    started: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """How to recognise, probe and stop one server.

    Only the command line of this server contains *argument*. *answers* returns whether it accepts our
    password on a port, and raises `ServerError` if waiting does not help.
    """

    label: str
    binary: str
    home: Home
    argument: str
    own_pid_file: Path
    answers: Callable[[int], bool]
    signals: tuple[tuple[Signals, float], ...]


@dataclass(slots=True)
class RunningServer:
    """A server that answers and that this process must stop."""

    program: Program
    state: _State
    process: Process
    child: "subprocess.Popen[bytes] | None"

    def is_alive(self) -> bool:
        return self.process.is_alive() if self.child is None else self.child.poll() is None

    def stop(self) -> None:
        """Stop the server, with the gentlest signal first.

        Raises:
            ServerError: the process survives every signal.
        """
        if not stop_process(self.process, self.program.signals, self.child):
            raise ServerError(
                f"{self.program.label} (process {self.process.pid}) does not end: kill it by hand"
            )
        _write(self.program.home, _State(self.state.kind, self.state.version, self.state.port))


def last_served(home: Home) -> tuple[Kind, str] | None:
    """Return the kind and version of the binaries that last used this folder; None before the first start."""
    state = _read(home)
    return (state.kind, state.version) if state else None


def last_port(home: Home) -> int | None:
    """Return the port on which the server of this folder was served last; None before the first start."""
    state = _read(home)
    return state.port if state else None


def find_orphan(home: Home, binary: str, argument: str, own_pid_file: Path) -> Process | None:
    """Return the live server process of this folder, if it can be identified for sure; else None."""
    state = _read(home)
    if state and state.pid is not None:
        process = Process.from_pid(state.pid)
        if process and process.started == state.started and process.runs(binary, argument):
            return process
    # A launcher that was killed before it stored the state leaves only the pid file of the server.
    with suppress(OSError, ValueError, IndexError):
        process = Process.from_pid(int(own_pid_file.read_text().split()[0]))
        if process and process.runs(binary, argument):
            return process
    return None


def adopt(program: Program, source: Source) -> RunningServer | None:
    """Take over the server that a killed launcher left running, or stop it. Returns None if it is stopped.

    Raises:
        ServerError: the server neither answers nor ends.
    """
    process = find_orphan(program.home, program.binary, program.argument, program.own_pid_file)
    if process is None:
        return None
    state = _read(program.home)
    if state and source in ("any", state.kind):
        deadline = time.monotonic() + _ADOPT_SECONDS
        with suppress(ServerError):
            while process.is_alive() and time.monotonic() < deadline:
                if program.answers(state.port):
                    adopted = _State(state.kind, state.version, state.port, process.pid, process.started)
                    _write(program.home, adopted)
                    return RunningServer(program, adopted, process, None)
                time.sleep(POLL_SECONDS)
    if not stop_process(process, program.signals):
        raise ServerError(
            f"{program.label} (process {process.pid}) is left over and does not end: kill it by hand"
        )
    return None


def launch(
    program: Program,
    binaries: PostgresBinaries | RedisBinaries,
    port: int | None,
    command: Callable[[int], list[str | Path]],
) -> RunningServer:
    """Start the server on *port* (None: a free port) and wait until it answers.

    *command* writes the configuration for a port and returns the command line.

    Raises:
        ServerError: the server ended or did not answer in time; the message holds the reason from its log.
    """
    previous = _read(program.home)
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        own_port = port or _free_port()
        state = _State(binaries.kind, binaries.version, own_port)
        _write(program.home, state)
        with open_server_log(program.home) as log:
            log_start = log.seek(0, 2)
            child = spawn(command(own_port), account=program.home.account, log=log)
        try:
            process = Process.from_pid(child.pid)
            if process:
                state = msgspec.structs.replace(state, pid=process.pid, started=process.started)
                _write(program.home, state)
                if _wait_for_answer(program, own_port, child):
                    return RunningServer(program, state, process, child)
            child.wait(timeout=5)
        except BaseException:
            _clean_up(program, child, previous)
            raise
        output = _log_since(program.home, log_start)
        # Another program took the port, or children of a killed server still hold its shared memory.
        if "in use" not in output or attempt == _MAX_ATTEMPTS:
            break
        time.sleep(0.2)
    _clean_up(program, child, previous)
    raise ServerError(f"{program.label} did not start: {_reason(output)} (see {program.home.log_file})")


def _wait_for_answer(program: Program, port: int, child: "subprocess.Popen[bytes]") -> bool:
    """Return True when the server answers, False when it has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while child.poll() is None:
        # Poll again after the answer: if our server has ended, another one has answered.
        if program.answers(port) and child.poll() is None:
            return True
        if time.monotonic() > deadline:
            raise ServerError(
                f"{program.label} did not answer within {_START_SECONDS} s: see {program.home.log_file}"
            )
        time.sleep(POLL_SECONDS)
    return False


def _clean_up(program: Program, child: "subprocess.Popen[bytes]", previous: _State | None) -> None:
    if child.poll() is None:
        process = Process.from_pid(child.pid)
        if process:
            stop_process(process, program.signals, child)
    # The next start needs the binaries that last used the folder: restore them.
    if previous:
        _write(program.home, _State(previous.kind, previous.version, previous.port))
    else:
        (program.home.path / _STATE_FILE).unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log_since(home: Home, start: int) -> str:
    with home.log_file.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [
        line for line in lines if "FATAL" in line or "ERROR" in line or "rror" in line or "an't" in line
    ]
    return (errors or lines or ["it printed nothing"])[-1]


def _read(home: Home) -> _State | None:
    try:
        return msgspec.json.decode((home.path / _STATE_FILE).read_bytes(), type=_State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _write(home: Home, state: _State) -> None:
    write_private(home.path / _STATE_FILE, msgspec.json.encode(state).decode(), home.account)
