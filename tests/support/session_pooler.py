"""A stand-in for PgBouncer in session mode, for machines without: it treats parameters of a session alike."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from headrace.adapters.postgres_url import parse_postgres_url
from support.tls import Target, pump_both_ways

_KNOWN: Final = ("user", "database", "client_encoding", "application_name")
_NO_TLS: Final = b"N"
_SSL_REQUEST: Final = 80877103


class SessionPooler:
    """Forwards connections to *target*; refuses unknown parameters of a session, or drops them."""

    def __init__(self, target: Target, *, ignores_parameters: bool) -> None:
        self._target = target
        self._ignores_parameters = ignores_parameters

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        code, body = await _read_startup(reader)
        if code == _SSL_REQUEST:
            writer.write(_NO_TLS)
            code, body = await _read_startup(reader)
        texts = body.rstrip(b"\0").split(b"\0")
        parameters = dict(zip(texts[::2], texts[1::2], strict=True))
        unknown = [name.decode() for name in parameters if name.decode() not in _KNOWN]
        if unknown and not self._ignores_parameters:
            fields = f"SFATAL\0C08P01\0Munsupported startup parameter: {unknown[0]}\0\0".encode()
            writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            await writer.drain()
            return
        kept = b"".join(
            name + b"\0" + value + b"\0" for name, value in parameters.items() if name.decode() in _KNOWN
        )
        packet = struct.pack("!i", code) + kept + b"\0"
        await pump_both_ways(reader, writer, self._target, struct.pack("!i", len(packet) + 4) + packet)


async def _read_startup(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    size, code = struct.unpack("!ii", await reader.readexactly(8))
    return code, await reader.readexactly(size - 8)


@asynccontextmanager
async def session_pooler(url: str, *, ignores_parameters: bool) -> AsyncIterator[str]:
    """Run the stand-in before the database of *url*, for the block; yield the URL that leads through it."""
    address = parse_postgres_url(url)
    ((host, port),) = address.hosts
    pooler = SessionPooler((host, int(port or 0)), ignores_parameters=ignores_parameters)
    listener = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
    place = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield f"postgresql://{address.user}:{address.password}@{place}/{address.database}"
