"""The proxy imitates each kind of bad network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from faults.proxy import Mode, Proxy, proxied
from support.patience import PATIENCE_SECONDS

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class EchoServer:
    """A server that repeats each line, behind a proxy, and the connections to it."""

    def __init__(self, proxy: Proxy) -> None:
        self.become = proxy.become
        self._port = proxy.port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Pair:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def echo_server() -> AsyncIterator[EchoServer]:
    async def repeat_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(repeat_lines, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxied(f"redis://:secret@127.0.0.1:{port}/0") as (proxy, url):
        assert url == f"redis://:secret@127.0.0.1:{proxy.port}/0"
        opened = EchoServer(proxy)
        yield opened
        await opened.close()


async def echo(pair: Pair, word: bytes, seconds: float = PATIENCE_SECONDS) -> bytes:
    pair[1].write(word + b"\n")
    return await asyncio.wait_for(pair[0].readline(), seconds)


async def test_stalled_bytes_arrive_later(echo_server: EchoServer) -> None:
    pair = await echo_server.connect()
    assert await echo(pair, b"one") == b"one\n"

    await echo_server.become(Mode.STALL)
    with pytest.raises(TimeoutError):
        await echo(pair, b"two", 0.1)
    await echo_server.become(Mode.PASS)

    assert await asyncio.wait_for(pair[0].readline(), PATIENCE_SECONDS) == b"two\n"


async def test_drop_mode_resets_old_and_new_connections(echo_server: EchoServer) -> None:
    pair = await echo_server.connect()
    await echo(pair, b"one")

    await echo_server.become(Mode.DROP)

    with pytest.raises(ConnectionError):
        assert await echo(pair, b"two")
    with pytest.raises(ConnectionError):
        assert await echo(await echo_server.connect(), b"three")
    await echo_server.become(Mode.PASS)
    assert await echo(await echo_server.connect(), b"four") == b"four\n"


async def test_a_half_open_connection_stays_silent(echo_server: EchoServer) -> None:
    pair = await echo_server.connect()
    await echo(pair, b"one")

    await echo_server.become(Mode.HALF_OPEN)
    late = await echo_server.connect()
    await echo_server.become(Mode.PASS)

    for silent in (pair, late):
        with pytest.raises(TimeoutError):
            await echo(silent, b"two", 0.1)
    assert await echo(await echo_server.connect(), b"three") == b"three\n"
