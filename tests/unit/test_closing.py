"""A connection that closes is reset when its client does not read the rest, however little that is."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.server import ServerState

from headrace.api.server import websocket_protocol, write_timeout
from headrace.api.server.config import server_config
from headrace.api.server.http_protocol import HttpProtocol
from headrace.api.server.websocket_protocol import WebSocketProtocol
from support.patience import PATIENCE_SECONDS, until

# This is less than the 64 KiB at which uvicorn pauses, and more than the smallest buffers of both sides hold.
BODY = b"x" * 60_000
SMALL_BUFFER = 4096
LIMIT = 1
ENDLESS = PATIENCE_SECONDS * 2
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HANDSHAKE = GET[:-2] + (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# Each way in which the service ends a connection: a request, and what the client sends behind its response.
ENDS = {
    "kept alive": (GET, b""),
    "refused": (GET, b"nonsense\r\n\r\n"),
    "answered": (GET[:-2] + b"Connection: close\r\n\r\n", b""),
    "failed": (GET.replace(b"/", b"/failing", 1), b""),
    "malformed socket": (GET, HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x")),
}


async def app(scope: Any, _receive: Any, send: Any) -> None:
    length = len(BODY) + (scope["path"] == "/failing")
    headers = [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY, "more_body": length > len(BODY)})


class Service:
    """A server of `app`, whose connections have small buffers."""

    def __init__(self, port: int, state: ServerState) -> None:
        self._port = port
        self.connections: set[Any] = state.connections

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[socket.socket]:
        """Yield a connection that reads nothing by itself."""
        with socket.socket() as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self._port))
            yield client

    async def buffered(self) -> Any:
        """Return the only connection when it has bytes that its client must read."""

        def unread() -> list[Any]:
            return [each for each in self.connections if each.transport.get_write_buffer_size()]

        await until(lambda: bool(unread()))
        (connection,) = unread()
        return connection


@asynccontextmanager
async def serving(keep_alive_seconds: float) -> AsyncIterator[Service]:
    config = server_config(app, LIMIT)
    config.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]
    config.load()
    state = ServerState()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    protocol: Any = config.http_protocol_class
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), sock=listener
    )
    async with server:
        yield Service(listener.getsockname()[1], state)
        for connection in list(state.connections):
            connection.transport.abort()


@pytest.fixture(autouse=True)
def no_timer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test decide when the time is over."""
    monkeypatch.setattr(write_timeout, "_TIMEOUT_SECONDS", ENDLESS)
    monkeypatch.setattr(websocket_protocol, "_CLOSE_TIMEOUT_SECONDS", ENDLESS)


def end_time(connection: Any) -> bool:
    """Let the time of the client be over; return whether it was running."""
    timer: Any = (
        connection._close_deadline if isinstance(connection, WebSocketProtocol) else connection._write_timer
    )
    if timer is not None:
        timer._callback(*timer._args)
        timer.cancel()
    return timer is not None


@pytest.mark.parametrize("end", ENDS)
async def test_a_closing_connection_that_is_never_read_is_reset(end: str) -> None:
    request, more = ENDS[end]

    async with serving(0.1 if end == "kept alive" else ENDLESS) as service, service.connect() as client:
        client.send(request)
        await service.buffered()
        client.send(more)
        await until(lambda: all(each.transport.is_closing() for each in service.connections))
        connection = await service.buffered()
        is_paused = isinstance(connection, HttpProtocol) and connection.flow.write_paused
        await until(lambda: end_time(connection))
        await until(lambda: not service.connections)

    assert not is_paused
    assert isinstance(connection, WebSocketProtocol if "socket" in end else HttpProtocol)


async def test_a_closing_connection_lasts_as_long_as_its_client_reads() -> None:
    async with serving(ENDLESS) as service, service.connect() as client:
        client.send(ENDS["answered"][0])
        connection = await service.buffered()
        await until(connection.transport.is_closing)
        loop = asyncio.get_running_loop()
        unread = write_timeout._unacknowledged_bytes(connection.transport)
        data = await loop.sock_recv(client, 2**14)
        await until(lambda: write_timeout._unacknowledged_bytes(connection.transport) < unread)
        was_running = end_time(connection)
        received = len(data)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while data := await loop.sock_recv(client, 2**16):
                received += len(data)

    assert was_running
    assert received > len(BODY)


async def test_a_connection_that_is_not_read_makes_room_at_once() -> None:
    async with serving(ENDLESS) as service, service.connect() as client:
        client.send(GET)
        connection = await service.buffered()
        async with service.connect():
            await until(lambda: connection not in service.connections)
            assert len(service.connections) == LIMIT
