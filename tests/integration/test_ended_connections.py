"""What ended connections leave: no memory, no running request and no line in the log for each."""

import asyncio
import gc
import logging
import weakref
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headrace.api.server.http_protocol import HttpProtocol
from headrace.api.server.websocket_protocol import WebSocketProtocol
from headrace.settings import Settings
from support.harness import Api, serving
from support.patience import PATIENCE_SECONDS, until

HOST = b"Host: localhost\r\n"
HANDSHAKE = (
    b"GET /api/v1/jobs/01a22870-e4b5-7181-ba5d-9870567fc6c7/ws?token=forged HTTP/1.1\r\n" + HOST +
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)  # fmt: skip
PIPELINED = (b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") * 20
FLOODS = {
    "answered": b"GET /health/live HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
    "malformed": b"nonsense\r\n\r\n",
    "pipelined": PIPELINED,
    "stranger's socket": HANDSHAKE + b"\x8a\x80\0\0\0\0" * 1000,
    "unfinished": b"GET / HTTP/1.1\r\n",
}


async def send(api: Api, request: bytes, *, reads: bool = True) -> None:
    """Send *request* on a connection of its own; read until the service closes it, or leave at once."""
    url = api.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
            while reads and await reader.read(65_536):
                pass
    writer.transport.abort()


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_ended_connection_is_freed_without_the_cycle_collector(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    connections: list[weakref.ref[Any]] = []

    def recorded(make: Any) -> Any:

        def record(connection: Any, *args: Any, **kwargs: Any) -> None:
            make(connection, *args, **kwargs)
            connections.append(weakref.ref(connection))

        return record

    kind: Any
    for kind in (HttpProtocol, WebSocketProtocol):
        monkeypatch.setattr(kind, "__init__", recorded(kind.__init__))
    async with serving(replace(settings, auth="proxy", trusted_proxies=("10.0.0.1",))) as api:
        await send(api, FLOODS["answered"])
        gc.collect()
        gc.disable()
        try:
            connections.clear()
            await asyncio.gather(*(send(api, FLOODS[flood], reads=flood != "unfinished") for _ in range(3)))
            await until(
                lambda: len(connections) >= 3 and all(connection() is None for connection in connections),
                lambda: str([gc.get_referrers(connection()) for connection in connections]),
            )
        finally:
            gc.enable()


async def test_a_request_before_a_refused_one_writes_nothing_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RequestResponseCycle] = []
    start = HttpProtocol._start_asgi_task

    def recorded(protocol: HttpProtocol, cycle: RequestResponseCycle, app: Any) -> None:
        started.append(cycle)
        start(protocol, cycle, app)

    monkeypatch.setattr(HttpProtocol, "_start_asgi_task", recorded)
    async with serving(settings) as api:
        await send(api, PIPELINED)

    assert [cycle.disconnected for cycle in started] == [True]


async def test_refused_requests_make_one_line_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "uvicorn.error")
    upgrade = b"GET /health/live HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n" + HOST + b"\r\n"

    with capture_logs() as lines:
        async with serving(settings) as api:
            for request in (b"nonsense\r\n\r\n", PIPELINED, upgrade) * 3:
                await send(api, request)

    assert caplog.records == []
    assert [line for line in lines if line["log_level"] == "warning"] == [
        {"event": "requests_refused", "log_level": "warning", "malformed": 1}
    ]
