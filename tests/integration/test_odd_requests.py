"""Requests that a proxy may read differently, and floods of tiny ones."""

import asyncio
from contextlib import suppress

import pytest
import websockets
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from headrace.api.server.frame_budget import BURST
from headrace.api.server.http_protocol import HttpProtocol
from headrace.api.server.websocket_protocol import POLICY_VIOLATION, WebSocketProtocol
from headrace.settings import Settings
from support.harness import Api, serving
from support.patience import PATIENCE_SECONDS, open_socket
from support.users import open_proxied

GET = b"GET /health/live HTTP/1.1\r\n"
POST = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PONG = Frame(Opcode.PONG, b"1234").serialize(mask=True)


async def responses_to(api: Api, request: bytes) -> bytes:
    """Send *request*, and read until the service closes the connection."""
    url = api.http.base_url
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        responses = b""
        # A connection that is refused in the middle of a flood is reset.
        with suppress(ConnectionError):
            writer.write(request)
            while data := await reader.read(65_536):
                responses += data
        writer.transport.abort()
        return responses


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (GET + b"Host: a\r\nHost: b\r\n\r\n", b"400"),
        (GET + b"Host: a\r\nHost: a\r\n\r\n", b"400"),
        (GET + b"\r\n", b"400"),
        (b"GET /health/live HTTP/1.0\r\n\r\n", b"200"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"501"),
        (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"501"),
        (POST + b"Transfer-Encoding: identity\r\n\r\n{}", b"501"),
        (POST + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"422"),
        (GET + b"Host: a\r\n" + b"X: y\r\n" * 300 + b"\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
async def test_odd_heads_are_refused(settings: Settings, request_bytes: bytes, status: bytes) -> None:
    async with serving(settings) as api:
        responses = await responses_to(api, request_bytes)

    assert responses.startswith(b"HTTP/1.1 " + status), responses
    assert responses.count(b"HTTP/1.1 ") == 1


async def test_a_few_pipelined_requests_are_answered_in_order(settings: Settings) -> None:
    last = GET + b"Host: localhost\r\nConnection: close\r\n\r\n"
    async with serving(settings) as api:
        responses = await responses_to(api, (GET + b"Host: localhost\r\n\r\n") * 9 + last)

    assert responses.count(b"HTTP/1.1 200 ") == 10


async def test_many_pipelined_requests_are_not_parsed_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = []
    parse = HttpProtocol.parse

    def watched(protocol: HttpProtocol, data: bytes) -> None:
        parse(protocol, data)
        waiting.append(len(protocol.pipeline))

    monkeypatch.setattr(HttpProtocol, "parse", watched)
    request = b"GET /health/live HTTP/1.1\r\nHost:a\r\n\r\n"

    async with serving(settings) as api:
        responses = await responses_to(api, request * 5_000)

    assert b"HTTP/1.1 429 " in responses or not responses
    assert max(waiting) <= 16
    assert len(waiting) < 5


async def test_a_chunked_upload_of_tiny_chunks_arrives_whole(settings: Settings) -> None:
    body = b'{"pipeline":"none"' + b" " * 50_000 + b"}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    async with serving(settings) as api:
        responses = await responses_to(api, head + chunks + b"0\r\n\r\n")

    assert responses.startswith(b"HTTP/1.1 422 "), responses


async def until_closed(client: websockets.ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await client.recv()


class Frames:
    """Counts the parts that the WebSocket protocol parses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        parse = WebSocketProtocol.parse

        def counted(protocol: WebSocketProtocol, data: bytes) -> None:
            self.bytes += len(data)
            parse(protocol, data)

        monkeypatch.setattr(WebSocketProtocol, "parse", counted)


async def test_nothing_is_parsed_of_a_client_that_is_not_admitted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Frames(monkeypatch)
    async with open_proxied(settings) as api:
        url = f"{api.ws}/api/v1/jobs/01a22870-e4b5-7181-ba5d-9870567fc6c7/ws"
        async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url, ping_interval=None) as client:
            client.transport.write(PONG * 100_000)
            await until_closed(client)

    assert frames.bytes == 0
    assert client.close_code in (4401, 1006)  # the flood may hinder the client from reading the close


@pytest.mark.parametrize("kind", [Opcode.PING, Opcode.PONG, Opcode.TEXT, Opcode.BINARY])
async def test_a_client_that_sends_too_many_frames_is_closed(
    api: Api, monkeypatch: pytest.MonkeyPatch, kind: Opcode
) -> None:
    frames = Frames(monkeypatch)
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    flood = Frame(kind, b"{}").serialize(mask=True)

    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        open_socket(f"{api.ws}/api/v1/jobs/{job['id']}/ws", ping_interval=None) as client,
    ):
        await client.recv()
        client.transport.write(flood * 20_000)
        await until_closed(client)

    assert client.close_code in (POLICY_VIOLATION, 1006)
    assert frames.bytes < len(flood) * 20 * BURST


async def test_a_client_may_send_a_burst_of_frames(api: Api) -> None:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")

    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        open_socket(f"{api.ws}/api/v1/jobs/{job['id']}/ws", ping_interval=None) as client,
    ):
        await client.recv()
        for _ in range(BURST // 2):
            await client.send('{"type":"ping"}')
        # A client that does not read its messages does not read the close either.
        await asyncio.gather(client.close(), until_closed(client))

    assert client.close_code == 1000


@pytest.mark.parametrize("long", [b"/api/v1/ws?x=" + b"y" * 20_000, b"/api/v1/ws"], ids=["path", "header"])
async def test_a_handshake_with_a_long_line_is_refused(settings: Settings, long: bytes) -> None:
    header = b"" if b"?" in long else b"X-Long: " + b"y" * 20_000 + b"\r\n"
    handshake = (
        b"GET " + long + b" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + header + b"\r\n"
    )
    async with serving(settings) as api:
        responses = await responses_to(api, handshake)

    assert responses.startswith(b"HTTP/1.1 431 "), responses
