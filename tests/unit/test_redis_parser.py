"""A reply of any length costs only so much memory."""

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import redis
from redis._parsers import _AsyncHiredisParser
from redis.exceptions import ConnectionError  # noqa: A004

from headrace.adapters import redis_parser
from headrace.adapters.redis_parser import BoundedParser

SECONDS = 10
TESTED = "5.3"


@pytest.fixture
async def feed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[asyncio.StreamReader, BoundedParser]]:
    """What a server sends, and the parser that reads it, with a limit of 1,000 bytes."""
    monkeypatch.setattr(redis_parser, "MAX_REPLY_BYTES", 1000)
    reader = asyncio.StreamReader()
    parser = BoundedParser(socket_read_size=64)
    parser.on_connect(SimpleNamespace(_reader=reader, encoder=SimpleNamespace(decode_responses=False)))
    async with asyncio.timeout(SECONDS):
        yield reader, parser


def test_redis_py_has_the_parts_that_are_used() -> None:
    for name in ("on_connect", "read_response", "read_from_socket"):
        assert hasattr(_AsyncHiredisParser, name), f"redis {redis.__version__}: tested with {TESTED}"
    assert version("redis").startswith(TESTED)


async def test_replies_up_to_the_limit_are_read_however_many_they_are(
    feed: tuple[asyncio.StreamReader, BoundedParser],
) -> None:
    reader, parser = feed
    reader.feed_data(b"$900\r\n" + bytes(900) + b"\r\n" + b":1\r\n" * 1000)

    assert await parser.read_response() == bytes(900)
    assert [await parser.read_response() for _ in range(1000)] == [1] * 1000


@pytest.mark.parametrize(
    "reply", [b"$536870912\r\n", b"*1000000\r\n", b"*2\r\n$900\r\n" + bytes(900) + b"\r\n$900\r\n"]
)
async def test_a_reply_beyond_the_limit_ends_the_connection(
    feed: tuple[asyncio.StreamReader, BoundedParser], reply: bytes
) -> None:
    reader, parser = feed
    reader.feed_data(reply + b":1\r\n" * 1000)

    with pytest.raises(ConnectionError, match="more than 1000 bytes"):
        await parser.read_response()


async def test_a_reply_that_is_read_in_parts_counts_as_one(
    feed: tuple[asyncio.StreamReader, BoundedParser],
) -> None:
    reader, parser = feed
    reader.feed_data(b"$5000\r\n")

    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(parser.read_response(), 0.01)
        reader.feed_data(bytes(100))

    with pytest.raises(ConnectionError, match="more than 1000 bytes"):
        await parser.read_response()


async def test_a_closed_connection_is_an_error(feed: tuple[asyncio.StreamReader, BoundedParser]) -> None:
    reader, parser = feed
    reader.feed_data(b"$900\r\n")
    reader.feed_eof()

    with pytest.raises(ConnectionError, match="closed"):
        await parser.read_response()
