"""Many cheap WebSocket clients in one process: they count the messages and measure their delay."""

import asyncio
import base64
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final, cast

STAMP: Final = b"@"
_DIGITS: Final = 20
_TEXT, _PING, _PONG = 1, 9, 10
_MAX_CONCURRENT_HANDSHAKES: Final = 100
_CONNECT_TIMEOUT_SECONDS: Final = 30


class Tally:
    """The number and delays of the frames that all readers together received.

    In a message with several events the first one is timed, since it has waited the longest.
    """

    def __init__(self, mark: bytes) -> None:
        """*mark* occurs once in each frame that counts."""
        self._mark = mark
        self.frames = 0
        self.late: list[float] = []
        self.is_timing = False

    def take(self, message: bytes) -> None:
        count = message.count(self._mark)
        if not count:
            return
        self.frames += count
        if self.is_timing:
            place = message.find(STAMP)
            if place >= 0:
                sent_at = int(message[place + 1 : place + 1 + _DIGITS])
                self.late.append((time.monotonic_ns() - sent_at) / 1e6)


class Reader(asyncio.Protocol):
    """One client. It expects frames that are not masked (RFC 6455) and not fragmented."""

    def __init__(self, path: str, on_message: Callable[[bytes], None]) -> None:
        """*on_message* is called with each message."""
        self._path = path
        self._on_message = on_message
        self._rest = b""
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        received = self._rest + data if self._rest else data
        if not self._is_open:
            head, separator, rest = received.partition(b"\r\n\r\n")
            if not separator:
                self._rest = received
                return
            self._open(head)
            received = rest
        self._rest = self._frames(received)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the handshake was cut"))
        if not self.lost.done():
            self.lost.set_result(None)

    def _open(self, head: bytes) -> None:
        self._is_open = True
        if head.split(b" ", 2)[1] == b"101":
            self.opened.set_result(None)
        else:
            self.opened.set_exception(ConnectionError(head[:100].decode()))

    def _frames(self, received: bytes) -> bytes:
        """Handle all complete frames; return the rest."""
        start, end = 0, len(received)
        while end - start >= 2:
            length, body = received[start + 1] & 127, start + 2
            if length >= 126:
                form, width = (">H", 2) if length == 126 else (">Q", 8)
                if end < body + width:
                    break
                (length,) = struct.unpack_from(form, received, body)
                body += width
            if end < body + length:
                break
            opcode = received[start] & 15
            if opcode == _TEXT:
                self._on_message(received[body : body + length])
            elif opcode == _PING and self.transport is not None:
                # A mask of zeros leaves the payload as it is.
                self.transport.write(
                    bytes((0x80 | _PONG, 0x80 | length, 0, 0, 0, 0)) + received[body : body + length]
                )
            start = body + length
        return received[start:]


async def connect(port: int, paths: Sequence[str], new_reader: Callable[[str], Reader]) -> list[Reader]:
    """Open one socket for each of *paths*; returns once all handshakes are done."""
    loop = asyncio.get_running_loop()
    readers: list[Reader] = []

    async def open_one(path: str) -> Reader:
        _, reader = await loop.create_connection(lambda: new_reader(path), "127.0.0.1", port)
        await reader.opened
        return reader

    async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS + len(paths) / 100):
        for start in range(0, len(paths), _MAX_CONCURRENT_HANDSHAKES):
            readers += await asyncio.gather(*map(open_one, paths[start : start + _MAX_CONCURRENT_HANDSHAKES]))
    return readers


def close(readers: Sequence[Reader]) -> None:
    for reader in readers:
        if reader.transport is not None:
            reader.transport.abort()
