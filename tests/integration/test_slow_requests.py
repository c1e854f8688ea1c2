"""Clients that send a request slowly, or open connections without sending any."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from msgspec.structs import replace

from headrace.api.server import receive_timeout
from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving
from support.patience import PATIENCE_SECONDS

GET_LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_DOCS = GET_LIVE.replace(b"/health/live", b"/openapi.json")
POST = (
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 500000\r\n\r\n"
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connect(api: Api) -> AsyncIterator[Connection]:
    url = api.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def response_to(connection: Connection, *parts: bytes, pause_seconds: float = 0) -> bytes:
    """Send *parts* with pauses, and read until the service closes the connection."""
    reader, writer = connection
    async with asyncio.timeout(PATIENCE_SECONDS):
        response = asyncio.create_task(reader.read())
        for part in parts:
            if response.done():
                break
            writer.write(part)
            await asyncio.sleep(pause_seconds)
        return await response


@pytest.mark.parametrize("head", [b"G", GET_LIVE[:-2], GET_LIVE + b"GET /"], ids=["byte", "half", "second"])
async def test_a_head_must_arrive_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(receive_timeout, "HEAD_SECONDS", 0.2)

    async with serving(settings) as api, connect(api) as connection:
        response = await response_to(connection, head)

    assert response.count(b"HTTP/1.1 408 ") == 1
    assert response.count(b"HTTP/1.1 200 ") == head.count(b"\r\n\r\n")


async def test_bytes_in_time_do_not_prolong_a_head(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_timeout, "HEAD_SECONDS", 0.5)

    async with serving(settings) as api, connect(api) as connection:
        response = await response_to(connection, GET_LIVE[:-2], *[b"X: y\r\n"] * 20, pause_seconds=0.1)

    assert response.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_without_any_request_is_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_timeout, "IDLE_SECONDS", 0.2)

    async with serving(settings) as api, connect(api) as connection:
        assert await response_to(connection) == b""


async def test_a_body_that_trickles_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive_timeout, "BODY_SECONDS", 0.3)

    async with serving(settings) as api, connect(api) as connection:
        response = await response_to(connection, POST, *[b" "] * 10, pause_seconds=0.1)

    assert response.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in response


async def test_waiting_connections_make_room_for_requests(settings: Settings) -> None:
    async with serving(replace(settings, max_connections=5)) as api, AsyncExitStack() as stack:
        halves = [await stack.enter_async_context(connect(api)) for _ in range(12)]
        for _, writer in halves:
            writer.write(GET_LIVE[:-2])
        last = await stack.enter_async_context(connect(api))
        last[1].write(GET_DOCS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            status_line = await last[0].readline()
            closed = [await reader.read() for reader, _ in halves[:8]]

    assert status_line.startswith(b"HTTP/1.1 200 ")
    assert closed == [b""] * 8


async def test_health_is_answered_while_streams_hold_all_connections(settings: Settings) -> None:
    await register_pipelines(settings)
    below = replace(settings, max_connections=3, public_url="http://localhost/below")
    async with serving(below) as api, AsyncExitStack() as stack:
        job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
        await api.http.aclose()
        stream = f"GET /api/v1/jobs/{job['id']}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        for _ in range(3):
            reader, writer = await stack.enter_async_context(connect(api))
            writer.write(stream)
            assert b" 200 " in await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
        refused = [
            await response_to(await stack.enter_async_context(connect(api)), request)
            for request in (GET_DOCS, GET_LIVE.replace(b"live", b"nothing"))
        ]
        status_lines = []
        for request in (GET_LIVE, GET_LIVE.replace(b"/health", b"/below/health")):
            health = await stack.enter_async_context(connect(api))
            health[1].write(request)
            status_lines.append(await asyncio.wait_for(health[0].readline(), PATIENCE_SECONDS))

    assert [line[:13] for line in status_lines] == [b"HTTP/1.1 200 "] * 2
    for response in refused:
        assert response.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"too_many_connections"' in response
