"""The proxy is the bad network that it is told to be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from faults.proxy import Mode, Proxy, proxied

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Way:
    """A proxy before a server that repeats each line, and the connections that lead through it."""

    def __init__(self, proxy: Proxy) -> None:
        self.become = proxy.become
        self._port = proxy.port
        self._writers: list[asyncio.StreamWriter] = []

    async def reach(self) -> Pair:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(repeat, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxied(f"redis://:secret@127.0.0.1:{port}/0") as (proxy, url):
        assert url == f"redis://:secret@127.0.0.1:{proxy.port}/0"
        opened = Way(proxy)
        yield opened
        await opened.close()


async def say(pair: Pair, word: bytes, seconds: float = 5) -> bytes:
    pair[1].write(word + b"\n")
    return await asyncio.wait_for(pair[0].readline(), seconds)


async def test_what_is_stalled_arrives_later(way: Way) -> None:
    pair = await way.reach()
    assert await say(pair, b"one") == b"one\n"

    await way.become(Mode.STALL)
    with pytest.raises(TimeoutError):
        await say(pair, b"two", 0.1)
    await way.become(Mode.PASS)

    assert await asyncio.wait_for(pair[0].readline(), 5) == b"two\n"


async def test_dropped_connections_are_reset_and_new_ones_too(way: Way) -> None:
    pair = await way.reach()
    await say(pair, b"one")

    await way.become(Mode.DROP)

    with pytest.raises(ConnectionError):
        assert await say(pair, b"two")
    with pytest.raises(ConnectionError):
        assert await say(await way.reach(), b"three")
    await way.become(Mode.PASS)
    assert await say(await way.reach(), b"four") == b"four\n"


async def test_a_half_open_connection_is_silent_for_good(way: Way) -> None:
    pair = await way.reach()
    await say(pair, b"one")

    await way.become(Mode.HALF_OPEN)
    late = await way.reach()
    await way.become(Mode.PASS)

    for silent in (pair, late):
        with pytest.raises(TimeoutError):
            await say(silent, b"two", 0.1)
    assert await say(await way.reach(), b"three") == b"three\n"
