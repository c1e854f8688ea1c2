"""A TCP proxy on loopback that can imitate a bad network while it runs."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_RESET: Final = struct.pack("ii", 1, 0)
_CHUNK: Final = 1 << 16


class Mode(StrEnum):
    """The treatment of bytes.

    `pass` forwards them · `stall` holds them until the mode changes · `drop` resets old and new connections ·
    `half_open` closes the server's side, and the client never receives anything again.
    """

    PASS = "pass"
    STALL = "stall"
    DROP = "drop"
    HALF_OPEN = "half_open"


class _Link:
    """A client's connection, and the proxy's connection to the server for it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        # A half-open connection stays dead in every later mode.
        self.is_dead = False

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                with suppress(OSError):
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    def half_open(self) -> None:
        self.is_dead = True
        if self.server is not None:
            self.server.transport.abort()


class Proxy:
    """Forwards the bytes that arrive at its own `port` to *host*:*port*."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._mode = Mode.PASS
        self._mode_changed = asyncio.Condition()
        self._links: set[_Link] = set()
        self.port = 0

    @property
    def mode(self) -> Mode:
        return self._mode

    async def become(self, mode: Mode) -> None:
        """Change the mode of all connections."""
        self._mode = mode
        for link in list(self._links):
            if mode is Mode.DROP:
                link.reset()
            elif mode is Mode.HALF_OPEN:
                link.half_open()
        async with self._mode_changed:
            self._mode_changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            if self._mode is Mode.DROP:
                link.reset()
            elif self._mode is Mode.HALF_OPEN:
                link.is_dead = True
            await self._wait_while_stalled(link)
            if not link.is_dead:
                await self._connect(reader, link)
            while link.is_dead and await reader.read(_CHUNK):
                pass
        except OSError:
            pass
        finally:
            self._links.discard(link)
            link.reset()

    @property
    def is_busy(self) -> bool:
        return bool(self._links)

    def close(self) -> None:
        """Reset all open connections."""
        for link in list(self._links):
            link.reset()

    async def _connect(self, reader: asyncio.StreamReader, link: _Link) -> None:
        back, link.server = await asyncio.open_connection(*self._target)
        directions = [
            asyncio.create_task(self._pump(reader, link.server, link)),
            asyncio.create_task(self._pump(back, link.client, link)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: _Link) -> None:
        while chunk := await source.read(_CHUNK):
            await self._wait_while_stalled(link)
            if link.is_dead:
                return
            sink.write(chunk)
            await sink.drain()

    async def _wait_while_stalled(self, link: _Link) -> None:
        async with self._mode_changed:
            await self._mode_changed.wait_for(lambda: link.is_dead or self._mode is not Mode.STALL)


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Start a proxy before the server of *url*. Yield it with the URL that leads through it."""
    parts = urlsplit(url)
    proxy = Proxy(str(parts.hostname), int(parts.port or 0))
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    login, _, _ = parts.netloc.rpartition("@")
    try:
        yield proxy, urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
    finally:
        listener.close()
        await proxy.become(Mode.PASS)
        while proxy.is_busy:
            proxy.close()
            await asyncio.sleep(0.01)
