"""Limits on what a connection sends before its request is complete."""

import asyncio
import contextlib

import pytest

from headrace.settings import Settings
from support.harness import Api, serving
from support.patience import PATIENCE_SECONDS
from support.users import PROXY_SECRET, Person, open_proxied

HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


async def read_status_line(api: Api, head: bytes) -> bytes:
    """Send *head*, and return the first line of the response."""
    url = api.http.base_url
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            writer.write(head)
            return await reader.readline()
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("part", [b"X-Long: ", b"GET /"], ids=["header", "path"])
async def test_an_endless_request_head_is_refused(settings: Settings, part: bytes) -> None:
    head = (part if part.startswith(b"GET") else HEAD + part) + b"x" * 10_000_000

    async with serving(settings) as api:
        refused = await read_status_line(api, head)

    assert refused.startswith(b"HTTP/1.1 431 ")


async def test_a_long_request_head_is_accepted(settings: Settings) -> None:
    async with serving(settings) as api:
        status_line = await read_status_line(api, HEAD + b"X-Long: " + b"x" * 30_000 + b"\r\n\r\n")

    assert status_line.startswith(b"HTTP/1.1 200 ")


async def test_trailers_are_not_treated_as_headers(settings: Settings) -> None:
    request = (
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Headrace-Proxy-Secret: "
        + PROXY_SECRET.encode()
        + b"\r\n"
        b"X-Forwarded-User: bob\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nX-Forwarded-Preferred-Username: root\r\n\r\n"
    )
    async with open_proxied(settings) as api:
        status_line = await read_status_line(api, request)
        root = await Person(api, "root").ask("GET", "/users")

    assert status_line.startswith(b"HTTP/1.1 422 ")
    assert [user["username"] for user in root.json()["items"]] == ["bob", "root"]


@pytest.mark.parametrize("trailers", [b"X: y\r\n" * 200_000, b"X: " + b"y" * 2_000_000], ids=["many", "long"])
async def test_endless_trailers_close_the_connection(settings: Settings, trailers: bytes) -> None:
    body = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"

    async with serving(settings) as api, asyncio.timeout(PATIENCE_SECONDS):
        url = api.http.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        with contextlib.suppress(ConnectionError):
            writer.write(body + trailers)
            await writer.drain()
            # Read until the service closes the connection.
            while await reader.read(65_536):
                pass
        writer.close()
