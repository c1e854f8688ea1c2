"""Starts the processes of steps, as forks of a server that has loaded the pipelines if that is possible."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from headrace.workers.child import server
from headrace.workers.child.fork import ForkHandle, ForkServerEndedError, StepNotStartedError
from headrace.workers.child.process import Child, ProcessHandle
from headrace.workers.fresh_python import fresh_python

_log = structlog.get_logger(__name__)

# Long computations yield the CPU to event loops, heartbeats and PostgreSQL.
_NICENESS: Final = 10
_IS_SUPPORTED: Final = sys.platform == "linux"
_LOAD_SECONDS: Final = 300.0
_START_SECONDS: Final = 30.0
_PROBE_SECONDS: Final = 1.0
_MAX_UNANSWERED_PROBES: Final = 8
# Numeric libraries would each start a thread per core, but a child counts as one unit of work.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class ForkServer:
    """The fork server of a worker, and the processes that it has started.

    If the modules cannot be loaded into a server, it is replaced by an empty one, and each step loads its
    module itself. If a server that is ready ends, it is not replaced: the worker must stop, because the files
    may have changed since it has loaded them. A ready server that hangs is killed within ten seconds.
    Elsewhere than on Linux each step gets a new interpreter.
    """

    def __init__(self, load: server.Load, environment: Mapping[str, str]) -> None:
        """*load* names the modules that define steps which run in processes, in *environment*."""
        self._load = load
        self._environment = environment
        self._control: socket.socket | None = None
        self._process: Child | None = None
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_number = 0
        self._forks: dict[int, ForkHandle] = {}
        self._requesting = asyncio.Lock()
        self._writable: asyncio.Future[None] | None = None
        self._unanswered_probes = 0
        self._probe_timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._on_end: list[Callable[[], None]] = []

    @property
    def is_loading(self) -> bool:
        """Whether the server has started and has not yet loaded the modules."""
        return self._control is not None and not self._loaded.done()

    def start(self) -> None:
        """Start the server where it can run. It loads the modules while the worker goes on."""
        if not _IS_SUPPORTED:
            return
        own_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own_end.setblocking(False)
        with child_end:
            self._process = self._start_python("headrace.workers.child.server", child_end.fileno())
        self._control = own_end
        own_end.send(msgspec.json.encode(self._load))
        asyncio.get_running_loop().add_reader(own_end.fileno(), self._read)

    def call_on_end(self, callback: Callable[[], None]) -> None:
        """Call *callback* when a server that was ready ends, or now if that has happened."""
        self._on_end.append(callback)
        if self._has_ended:
            callback()

    async def load(self) -> None:
        """Start the server if that has not happened, and wait until it has loaded the modules.

        Raises:
            ForkServerEndedError: it has ended.
        """
        if self._process is None:
            self.start()
        if self._control is not None and not self._loaded.done():
            try:
                async with asyncio.timeout(_LOAD_SECONDS):
                    await asyncio.shield(self._loaded)
            except TimeoutError:
                self._replace(reason="the modules did not load in time")
                await asyncio.shield(self._loaded)
        self.require_running()

    def require_running(self) -> None:
        """Raise an error if no step can be started any more.

        Raises:
            ForkServerEndedError: the server has ended.
        """
        if self._has_ended:
            raise ForkServerEndedError

    async def start_step(self, descriptor: int, folder: str) -> ProcessHandle:
        """Start the process of a step, with *descriptor* as its socket and *folder* as its working folder.

        Call `load` first.

        Raises:
            ForkServerEndedError: the server has ended.
            OSError: it cannot be started.
        """
        if not _IS_SUPPORTED:
            return self._start_python("headrace.workers.child.main", descriptor, folder)
        try:
            async with asyncio.timeout(_START_SECONDS):
                fork = await self._request_fork(descriptor, folder)
                await fork.started
        except TimeoutError as error:
            raise StepNotStartedError(f"it took longer than {_START_SECONDS:g} s") from error
        return fork

    async def stop(self) -> None:
        """End the server; no step runs any more."""
        self._close()
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            await self._process.wait()

    def _start_python(self, module: str, descriptor: int, folder: str | None = None) -> Child:
        """Start an interpreter that runs *module* with a socket and the id of this process as arguments."""
        return Child(
            fresh_python(module, str(descriptor), str(os.getpid()), nice=_NICENESS),
            environment={**self._environment, **_ONE_THREAD},
            folder=folder,
            descriptors=(descriptor,),
        )

    async def _request_fork(self, descriptor: int, folder: str) -> ForkHandle:
        """Request a process, once the server has read enough of the earlier requests."""
        async with self._requesting:
            while self._control is not None:
                request = server.Fork(self._last_number + 1, folder)
                try:
                    socket.send_fds(self._control, [msgspec.json.encode(request)], [descriptor])
                except BlockingIOError:
                    await self._wait_writable(self._control)
                except ConnectionError:
                    self._on_closed()
                else:
                    self._last_number = request.number
                    fork = self._forks[request.number] = ForkHandle()
                    return fork
        raise ForkServerEndedError

    async def _wait_writable(self, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._writable = loop.create_future()
        loop.add_writer(control.fileno(), self._set_writable)
        try:
            await self._writable
        finally:
            if self._control is control:
                loop.remove_writer(control.fileno())

    def _set_writable(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _read(self) -> None:
        """Handle the server's responses."""
        while self._control is not None:
            try:
                message = self._control.recv(server.MAX_REQUEST_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._on_closed()
                return
            self._handle(server.decode_response(message))

    def _probe(self) -> None:
        """Send a probe every second, and kill the server if it has answered none of the last eight.

        The probes are counted, not their time: a server that was suspended together with this process may
        answer the next one.
        """
        if self._control is None or self._process is None:
            return
        if self._unanswered_probes >= _MAX_UNANSWERED_PROBES:
            _log.error("fork_server_hangs", unanswered=self._unanswered_probes)
            self._process.signal(signal.SIGKILL)
            self._on_closed()
            return
        self._unanswered_probes += 1
        # A server that reads no requests answers none, and one that has ended is noticed by `_read`.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._control.send(msgspec.json.encode(server.Probe()))
        self._probe_timer = asyncio.get_running_loop().call_later(_PROBE_SECONDS, self._probe)

    def _handle(self, response: server.Response) -> None:
        self._unanswered_probes = 0
        match response:
            case server.Ready():
                if response.unsafe:
                    self._replace(reason="modules start threads", sources=response.unsafe)
                else:
                    self._set_loaded()
                    self._probe()
            case server.Started():
                self._forks[response.number].set_started(response.pid)
            case server.NotStarted():
                self._forks.pop(response.number).set_not_started(StepNotStartedError(response.reason))
            case server.Ended():
                self._forks.pop(response.number).set_ended(response.status)

    def _on_closed(self) -> None:
        """Replace a server that has ended while it loaded the modules; else start no more steps."""
        if not self._loaded.done() and self._load.sources:
            self._replace(reason="it ended while it loaded the modules")
            return
        _log.error("fork_server_ended", steps=len(self._forks))
        self._has_ended = True
        self._close()
        for callback in self._on_end:
            callback()

    def _replace(self, *, reason: str, sources: list[str] | None = None) -> None:
        """Replace a server that cannot be used by one that has loaded no modules."""
        if not self._load.sources:
            return
        _log.warning("fork_server_not_used", reason=reason, sources=sources or self._load.sources)
        self._load = msgspec.structs.replace(self._load, sources=[])
        self._disconnect()
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
        try:
            self.start()
        except OSError:
            _log.exception("fork_server_not_started")
            self._on_closed()

    def _set_loaded(self) -> None:
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _close(self) -> None:
        self._disconnect()
        self._set_loaded()
        for fork in self._forks.values():
            fork.interrupt()
        self._forks.clear()

    def _disconnect(self) -> None:
        if self._control is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._control.fileno())
            loop.remove_writer(self._control.fileno())
            if self._probe_timer is not None:
                self._probe_timer.cancel()
            self._control.close()
            self._control = None
            self._set_writable()
