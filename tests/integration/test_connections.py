"""What a connection may send before it is a request."""

import asyncio

import pytest

from harness import Api, serving
from settings import Settings

SECONDS = 20
HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


async def answer_to(api: Api, head: bytes) -> bytes:
    """The first line of the answer; what is not taken is not sent."""
    url = api.http.base_url
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            writer.write(head)
            return await reader.readline()
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("part", [b"X-Long: ", b"GET /"], ids=["header", "path"])
async def test_a_request_without_end_is_refused(settings: Settings, part: bytes) -> None:
    head = (part if part.startswith(b"GET") else HEAD + part) + b"x" * 10_000_000

    async with serving(settings) as api:
        refused = await answer_to(api, head)

    assert refused.startswith(b"HTTP/1.1 431 ")


async def test_a_long_head_is_taken(settings: Settings) -> None:
    async with serving(settings) as api:
        answer = await answer_to(api, HEAD + b"X-Long: " + b"x" * 30_000 + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
