"""Reads sockets in pieces of 16 KiB, so that a connection never holds more of what its client sends.

uvloop reads up to 256 KB at once. A thousand connections that flood the service would hold a quarter of a
gigabyte.
"""

import asyncio
from typing import Final

READ_BYTES: Final = 16 * 1024
# One for all connections: what was read is copied before the next read.
_BUFFER: Final = memoryview(bytearray(READ_BYTES))


class SmallReads(asyncio.BufferedProtocol):
    """Stands between a transport and a protocol that is no `BufferedProtocol`, as those of uvicorn."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_BUFFER[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
