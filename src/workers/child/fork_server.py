"""Starts the processes of steps, as forks of a server that has loaded the pipelines if that is possible."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from headrace.workers.child import server
from headrace.workers.child.process import Child, ProcessHandle
from headrace.workers.fresh_python import fresh_python

_log = structlog.get_logger(__name__)

# Long computations yield the CPU to event loops, heartbeats and PostgreSQL.
_NICENESS: Final = 10
_IS_SUPPORTED: Final = sys.platform == "linux"
_LOAD_SECONDS: Final = 300.0
_START_SECONDS: Final = 30.0
# Numeric libraries would each start a thread per core, but a child counts as one unit of work.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class ForkServer:
    """The fork server of a worker, and the processes that it has started.

    Where forks are not safe, and once the server has ended, each step gets a new interpreter.
    """

    def __init__(self, sources: Sequence[str], import_path: Sequence[str]) -> None:
        """*sources*: the modules that define steps which run in processes."""
        self._load = server.Load(list(sources), list(import_path))
        self._control: socket.socket | None = None
        self._process: Child | None = None
        self._is_ready = False
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_number = 0
        self._forks: dict[int, _Fork] = {}

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
            self._process = _start_python("headrace.workers.child.server", child_end.fileno())
        self._control = own_end
        own_end.send(msgspec.json.encode(self._load))
        asyncio.get_running_loop().add_reader(own_end.fileno(), self._read)

    async def load(self) -> None:
        """Start the server if that has not happened, and wait until it has loaded the modules."""
        if self._process is None:
            self.start()
        if self._control is None:
            return
        try:
            # A new interpreter would load the modules as well, perhaps from files that have changed.
            async with asyncio.timeout(_LOAD_SECONDS):
                await asyncio.shield(self._loaded)
        except TimeoutError:
            _log.warning("fork_server_not_used", reason="the modules did not load in time")
            self._close()

    async def start_step(self, descriptor: int, folder: str) -> ProcessHandle:
        """Start the process of a step, with *descriptor* as its socket and *folder* as its working folder.

        Call `load` first: until then, each step gets a new interpreter.

        Raises:
            OSError: it cannot be started; `TimeoutError` is one.
        """
        if self._is_ready and self._control is not None:
            self._last_number += 1
            request = msgspec.json.encode(server.Fork(self._last_number, folder))
            fork = self._forks[self._last_number] = _Fork()
            try:
                socket.send_fds(self._control, [request], [descriptor])
            except OSError as error:
                del self._forks[self._last_number]
                _log.warning("fork_server_failed", error=str(error))
            else:
                async with asyncio.timeout(_START_SECONDS):
                    await fork.started
                return fork
        return _start_python("headrace.workers.child.main", descriptor, folder)

    async def stop(self) -> None:
        """End the server; no step runs any more."""
        self._close()
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            await self._process.wait()

    def _read(self) -> None:
        """Handle the server's responses; a server that has ended is not used again."""
        while self._control is not None:
            try:
                message = self._control.recv(server.MAX_REQUEST_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                _log.warning("fork_server_ended", steps=len(self._forks))
                self._close()
                return
            self._handle(server.decode_response(message))

    def _handle(self, response: server.Response) -> None:
        match response:
            case server.Ready():
                self._is_ready = not response.unsafe
                self._set_loaded()
                if response.unsafe:
                    _log.warning("fork_server_not_used", started_threads=response.unsafe)
            case server.Started():
                self._forks[response.number].set_started(response.pid)
            case server.Ended():
                self._forks.pop(response.number).set_ended(response.status)

    def _set_loaded(self) -> None:
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _close(self) -> None:
        self._is_ready = False
        self._set_loaded()
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        # Their keepers end them together with the server.
        for fork in self._forks.values():
            fork.set_ended(-signal.SIGKILL)
        self._forks.clear()


class _Fork(ProcessHandle):
    """The process of a step that the fork server has started."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = loop.create_future()
        super().__init__(None, loop.create_future())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, while the id is known to be that of the step."""
        if self.status is None:
            super().signal(number)

    def set_started(self, pid: int) -> None:
        self.pid = pid
        self._set_started()

    def set_ended(self, status: int) -> None:
        self._set_started()
        if not self._exit.done():
            self._exit.set_result(status)

    def _set_started(self) -> None:
        if not self.started.done():
            self.started.set_result(None)


def _start_python(module: str, descriptor: int, folder: str | None = None) -> Child:
    """Start an interpreter that runs *module* with a socket and the id of this process as its arguments."""
    return Child(
        fresh_python(module, str(descriptor), str(os.getpid()), nice=_NICENESS),
        environment=os.environ | _ONE_THREAD,
        folder=folder,
        descriptors=(descriptor,),
    )
