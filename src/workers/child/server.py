"""The fork server of a worker: loads its pipelines once, and forks a process for each step from there.

A step therefore starts within milliseconds, and runs the code that the worker runs, even if the files have
changed since. The worker sends a request with the descriptor of the step's socket; the server replies with
the id of the process and later with its exit status.

If a keeper is killed, the server adopts the processes of its step and kills them.
"""

import errno
import gc
import os
import select
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from headrace.adapters.log_stream import bounded_stderr
from headrace.adapters.logs import configure_logging
from headrace.adapters.process_tree import adopt_orphans, child_pids, end_with_parent, kill_orphans
from headrace.adapters.tracing.tracing import import_tracing
from headrace.domain.pipelines.loading import Failure, load_with_path
from headrace.workers.child.keeper import run_kept
from headrace.workers.child.main import serve

_log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES: Final = 1 << 20


class Load(Struct, tag="load", kw_only=True):
    """The first request: load the modules *sources*, and log as the worker does.

    *secrets* must not appear in the logs. *traces*: import also what traces steps.
    """

    sources: list[str]
    import_path: list[str]
    log_level: str
    logs_json: bool
    secrets: list[str]
    traces: bool = False


class Fork(Struct, tag="fork"):
    """Start process *number* in *folder*. The descriptor of its socket comes with the message."""

    number: int
    folder: str


class Probe(Struct, tag="probe"):
    """Reply with `Alive`, to show that this server does not hang."""


class Ready(Struct, tag="ready"):
    """The modules are loaded. *unsafe*: those that have started threads, which a fork would not copy."""

    unsafe: list[str]


class Alive(Struct, tag="alive"):
    """The reply to `Probe`."""


class Started(Struct, tag="started"):
    number: int
    pid: int


class NotStarted(Struct, tag="not_started"):
    """Process *number* could not be started."""

    number: int
    reason: str


class Ended(Struct, tag="ended"):
    """*status*: the exit status; negative: the number of the signal."""

    number: int
    status: int


Request = Load | Fork | Probe
Response = Ready | Alive | Started | NotStarted | Ended
decode_request: Final = msgspec.json.Decoder(Request).decode
decode_response: Final = msgspec.json.Decoder(Response).decode


def main() -> None:
    """Serve the worker on the socket whose descriptor is the first argument, until it closes the socket.

    The second argument is the worker's id: the server ends with it.
    """
    end_with_parent(int(sys.argv[2]), signal.SIGKILL)
    adopt_orphans()
    # The worker decides when this process ends; a signal to its group is not meant for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    # One request at most each time, because requests do not merge in this kind of socket.
    request = decode_request(control.recv(MAX_REQUEST_BYTES))
    if not isinstance(request, Load):
        raise TypeError("the first request is to load modules")
    configure_logging(
        request.log_level, as_json=request.logs_json, secrets=request.secrets, stream=bounded_stderr()
    )
    if request.traces:
        import_tracing()
    unsafe = []
    for source in request.sources:
        before = _count_threads()
        try:
            load_with_path(source, request.import_path)
        except BaseException as error:  # noqa: BLE001  (a user's module may raise anything)
            failure = Failure.of(source, error)
            _log.error(
                "pipeline_failed_to_load",
                error=failure.summary,
                source=source,
                process="steps",
                exception=failure.traceback,
            )
        if _count_threads() > before:
            unsafe.append(source)
    # Collections in a child would copy the pages that it shares with the others.
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    forks = _Server(control)
    _reply(control, Ready(unsafe))
    forks.run()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._numbers: dict[int, int] = {}
        # Modules may have started processes when they were imported.
        self._others = frozenset(child_pids())
        self._wake_end, wake_start = os.pipe()
        os.set_blocking(wake_start, False)
        signal.set_wakeup_fd(wake_start, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def run(self) -> None:
        while True:
            control = self._control.fileno()
            readable, _, _ = select.select([control, self._wake_end], [], [])
            if self._wake_end in readable:
                os.read(self._wake_end, 4096)
                self._reap()
            if control in readable:
                message, descriptors, _, _ = socket.recv_fds(self._control, MAX_REQUEST_BYTES, 1)
                if not message:
                    return
                request = decode_request(message)
                if isinstance(request, Probe):
                    _reply(self._control, Alive())
                elif isinstance(request, Fork) and self._fork(request, descriptors):
                    return

    def _fork(self, request: Fork, descriptors: list[int]) -> bool:
        """Start a process; return True in the new one, once its step has run."""
        server = os.getpid()
        if not descriptors:  # the system drops those that are too many
            _reply(self._control, NotStarted(request.number, os.strerror(errno.EMFILE)))
            return False
        (descriptor,) = descriptors
        try:
            pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            _reply(self._control, NotStarted(request.number, error.strerror or str(error)))
            return False
        if pid:
            os.close(descriptor)
            self._numbers[pid] = request.number
            _reply(self._control, Started(request.number, pid))
            return False
        self._become_child(request.folder)
        connection = socket.socket(fileno=descriptor)
        run_step = partial(serve, connection, logs_are_configured=True)
        run_kept(run_step, parent=server, close=connection.close)
        return True

    def _become_child(self, folder: str) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._control.close()
        os.setpgid(0, 0)
        os.chdir(folder)
        _reseed()

    def _reap(self) -> None:
        for pid in list(self._numbers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _reply(self._control, Ended(self._numbers.pop(pid), os.waitstatus_to_exitcode(status)))
        kill_orphans(spare=self._numbers.keys() | self._others)


def _reply(control: socket.socket, response: Response) -> None:
    control.send(msgspec.json.encode(response))


def _reseed() -> None:
    """Give each process random numbers of its own. Python does this by itself for the module `random`."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _count_threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 0
