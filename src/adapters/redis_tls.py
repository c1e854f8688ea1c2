"""Finds out whether a Redis speaks TLS. If only one side does, it is silent, or closes the connection."""

import asyncio
import ssl
from typing import Final

_SECONDS: Final = 1.0
_REPLIES: Final = (b"+", b"-")


async def speaks_tls(host: str, port: int) -> bool | None:
    """Return whether the server at that place speaks TLS; None if it is not clear."""
    if await _answers_a_ping(host, port):
        return False
    return True if await _answers_a_handshake(host, port) else None


async def _answers_a_ping(host: str, port: int) -> bool:
    """Return whether the server answers a command without TLS, if only to demand a password."""
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in _REPLIES
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False


async def _answers_a_handshake(host: str, port: int) -> bool:
    """Return whether the server answers with TLS. Its certificate is not checked, since nothing is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
    except (OSError, TimeoutError):
        return False
    return True
