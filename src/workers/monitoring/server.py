"""A small HTTP server for scrapes and probes, in a thread of its own.

It answers while the event loop of the worker is blocked. Connections, and the size and the time of a request,
are bounded. One request is served per connection.
"""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

import structlog
from msgspec import Struct

from headrace.adapters.ip_addresses import parse_ip
from headrace.adapters.tasks import cancel_and_wait

_log = structlog.get_logger(__name__)

_MAX_HEAD_BYTES: Final = 8 * 1024
_MAX_CONNECTIONS: Final = 32
_REQUEST_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 2.0
_ADVICE: Final = (
    "set HEADRACE_WORKER_PORT to another port, or to 0; the worker runs without metrics and probes"
)

_CLIENT_ERRORS: Final = (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class MonitoringPage(Struct, frozen=True):
    """What is sent for a path."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK


Pages = Mapping[str, Callable[[], Awaitable[MonitoringPage]]]


class MonitoringServer:
    """Serves *pages* by their path, from `start` to `stop`.

    If something else listens on the port, one warning says so, and the server begins when the port is free.
    """

    def __init__(self, host: str, port: int, pages: Pages, *, retry_seconds: float = 5.0) -> None:
        """*port* 0 is any free one. *pages* are awaited in the loop of the server's thread."""
        self._address = (host, port)
        self._pages = pages
        self._retry_seconds = retry_seconds
        # A stranger's page can use a name of its own for this machine, so on loopback names are refused.
        self._is_private = _is_loopback(host)
        self._connections: set[asyncio.Task[None]] = set()
        # Those whose request is not complete, the oldest first.
        self._reading: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-monitoring", daemon=True)
        self.port: int | None = None
        """The port that is open."""

    def start(self) -> None:
        """Open the port and serve, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port; return when it is closed, at the latest after 2 s."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, since the port was never free
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await self._open()
        if server is None:
            return
        self.port = server.sockets[0].getsockname()[1]
        _log.info("monitoring_ready", host=self._address[0], port=self.port)
        await self._stopping.wait()
        self.port = None
        # `wait_closed` would wait for the clients.
        server.close()
        await cancel_and_wait(list(self._connections))
        await asyncio.sleep(0)  # their sockets are closed in the next turn

    async def _open(self) -> asyncio.Server | None:
        """Open the port, as soon as it is free; None if the worker stops before."""
        is_logged = False
        host, port = self._address
        while not self._stopping.is_set():
            try:
                return await asyncio.start_server(self._answer, host, port, limit=_MAX_HEAD_BYTES)
            except OSError as error:
                if not is_logged:
                    is_taken = error.errno == errno.EADDRINUSE
                    reason = "it is in use" if is_taken else str(error.strerror)
                    _log.warning("monitoring_port_refused", port=port, reason=reason, advice=_ADVICE)
                is_logged = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._retry_seconds)
        return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("a connection is served in a task")
        self._connections.add(task)
        task.add_done_callback(self._forget)
        try:
            if len(self._connections) <= _MAX_CONNECTIONS or self._end_oldest_reader():
                # A client that goes away, or sends too much or too slowly, gets no answer.
                with contextlib.suppress(*_CLIENT_ERRORS):
                    async with asyncio.timeout(_REQUEST_SECONDS):
                        self._reading[task] = None
                        head = await reader.readuntil(b"\r\n\r\n")
                        self._reading.pop(task, None)
                        writer.write(await self._respond(head))
                        await writer.drain()
        finally:
            writer.close()

    def _end_oldest_reader(self) -> bool:
        """Make room for a connection: end the oldest one whose request is not complete, if there is one."""
        oldest = next(iter(self._reading), None)
        if oldest is None:
            return False
        del self._reading[oldest]
        oldest.cancel()
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._reading.pop(task, None)

    async def _respond(self, head: bytes) -> bytes:
        """Return the response to a request with that head."""
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        page = _plain(HTTPStatus.NOT_FOUND, "try /metrics, /health/live or /health/ready")
        if method not in ("GET", "HEAD"):
            page = _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
        elif self._is_private and not _is_local_name(_host_of(lines)):
            page = _plain(HTTPStatus.FORBIDDEN, "only localhost and addresses are answered")
        elif path in self._pages:
            page = await self._pages[path]()
        status = page.status
        return (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {page.content_type}\r\n"
            f"content-length: {len(page.body)}\r\ncache-control: no-store\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        ).encode() + (b"" if method == "HEAD" else page.body)


def _plain(status: HTTPStatus, text: str) -> MonitoringPage:
    return MonitoringPage(f"{text}\n".encode(), "text/plain; charset=utf-8", status)


def _host_of(lines: Sequence[str]) -> str:
    """Return the `Host` header without its port; empty if there is none."""
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "host":
            host = value.strip()
            return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return ""


def _is_local_name(host: str) -> bool:
    """Return whether *host* is this machine's own name for itself or an address, which no other page has."""
    return host.lower() in ("", "localhost") or parse_ip(host) is not None


def _is_loopback(host: str) -> bool:
    address = parse_ip(host)
    return host == "localhost" if address is None else address.is_loopback
