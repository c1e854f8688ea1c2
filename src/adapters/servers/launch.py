"""Starting, adopting and ending one server process, the same way for PostgreSQL and Redis."""

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
from headrace.adapters.servers.folders import Home, open_log, write_private
from headrace.adapters.servers.processes import POLL_SECONDS, Process, end, spawn

_START_SECONDS: Final = 60  # long, for a recovery after a crash
_ADOPT_SECONDS: Final = 5
_TRIES: Final = 5
_STATE_FILE: Final = "server.json"


class _State(msgspec.Struct, frozen=True):
    """What the next launcher must know; no process while the server is stopped or just being started."""

    kind: Kind
    version: str
    port: int
    pid: int | None = None
    started: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """How one server is started, asked and ended.

    *argument* stands on its command line and on no other server's; *answers* tells whether it takes our
    password on that port, and raises `ServerError` where waiting is of no use.
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
    """A server that answers; ours to stop."""

    program: Program
    state: _State
    process: Process
    child: "subprocess.Popen[bytes] | None"

    def is_alive(self) -> bool:
        return self.process.is_alive() if self.child is None else self.child.poll() is None

    def stop(self) -> None:
        """End the server, gently first.

        Raises:
            ServerError: it outlived every signal.
        """
        if not end(self.process, self.program.signals, self.child):
            raise ServerError(
                f"{self.program.label} (process {self.process.pid}) does not end: end it by hand"
            )
        _write(self.program.home, _State(self.state.kind, self.state.version, self.state.port))


def last_served(home: Home) -> tuple[Kind, str] | None:
    """The kind and version of the binaries that last served this folder; None when none did."""
    state = _read(home)
    return (state.kind, state.version) if state else None


def find_orphan(home: Home, binary: str, argument: str, own_pid_file: Path) -> Process | None:
    """The live server of this folder, if its process is surely that; None when there is none."""
    state = _read(home)
    if state and state.pid is not None:
        process = Process.from_pid(state.pid)
        if process and process.started == state.started and process.runs(binary, argument):
            return process
    # A launcher killed between the start and its note of it leaves only what the server itself wrote.
    with suppress(OSError, ValueError, IndexError):
        process = Process.from_pid(int(own_pid_file.read_text().split()[0]))
        if process and process.runs(binary, argument):
            return process
    return None


def adopt(program: Program, source: Source) -> RunningServer | None:
    """Take over the server that a killed launcher left, or end it; None when there is none to take.

    Raises:
        ServerError: it neither answers nor ends.
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
                    taken = _State(state.kind, state.version, state.port, process.pid, process.started)
                    _write(program.home, taken)
                    return RunningServer(program, taken, process, None)
                time.sleep(POLL_SECONDS)
    if not end(process, program.signals):
        raise ServerError(
            f"{program.label} (process {process.pid}) is left over and does not end: end it by hand"
        )
    return None


def launch(
    program: Program,
    binaries: PostgresBinaries | RedisBinaries,
    port: int | None,
    command: Callable[[int], list[str | Path]],
) -> RunningServer:
    """Start the server on *port* (None: on a free one) and wait until it answers.

    *command* gives the command line for a port, after writing what the server reads.

    Raises:
        ServerError: it ended or did not answer in time; the message holds the last line of its log.
    """
    before = _read(program.home)
    for attempt in range(1, _TRIES + 1):
        own_port = port or _free_port()
        state = _State(binaries.kind, binaries.version, own_port)
        _write(program.home, state)
        with open_log(program.home) as log:
            log_start = log.seek(0, 2)
            child = spawn(command(own_port), account=program.home.account, log=log)
        try:
            process = Process.from_pid(child.pid)
            if process:
                state = msgspec.structs.replace(state, pid=process.pid, started=process.started)
                _write(program.home, state)
                if _wait(program, own_port, child):
                    return RunningServer(program, state, process, child)
            child.wait(timeout=5)
        except BaseException:
            _give_up(program, child, before)
            raise
        said = _log_since(program.home, log_start)
        # Somebody took the port, or the children of a killed server still hold its memory.
        if "in use" not in said or attempt == _TRIES:
            break
        time.sleep(0.2)
    _give_up(program, child, before)
    raise ServerError(f"{program.label} did not start: {_reason(said)} (see {program.home.log_file})")


def _wait(program: Program, port: int, child: "subprocess.Popen[bytes]") -> bool:
    """True when the server answers, False when it ended."""
    deadline = time.monotonic() + _START_SECONDS
    while child.poll() is None:
        # Asked again after the answer: were our server gone, another one would have answered.
        if program.answers(port) and child.poll() is None:
            return True
        if time.monotonic() > deadline:
            raise ServerError(
                f"{program.label} did not answer within {_START_SECONDS} s: see {program.home.log_file}"
            )
        time.sleep(POLL_SECONDS)
    return False


def _give_up(program: Program, child: "subprocess.Popen[bytes]", before: _State | None) -> None:
    if child.poll() is None:
        process = Process.from_pid(child.pid)
        if process:
            end(process, program.signals, child)
    # Who served the folder is still who served it before, and the next start wants to know.
    if before:
        _write(program.home, _State(before.kind, before.version, before.port))
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


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [
        line for line in lines if "FATAL" in line or "ERROR" in line or "rror" in line or "an't" in line
    ]
    return (telling or lines or ["it says nothing"])[-1]


def _read(home: Home) -> _State | None:
    try:
        return msgspec.json.decode((home.path / _STATE_FILE).read_bytes(), type=_State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _write(home: Home, state: _State) -> None:
    write_private(home.path / _STATE_FILE, msgspec.json.encode(state).decode(), home.account)
