"""Connections whose client takes nothing for long are cut, whatever it holds open.

uvicorn holds a writer back once 64 KiB wait for the client, and lets it wait for ever; closing such a
connection would wait for the client, too.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PATIENCE_SECONDS: Final = 25.0
_MOST_HEAD_BYTES: Final = 64 * 1024
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class WriteTimeout:
    """Watches a connection whose buffer is full; *give_up* is called when nothing was taken for a while."""

    __slots__ = ("_give_up", "_timer")

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        self.end()
        self._timer = asyncio.get_running_loop().call_later(
            _PATIENCE_SECONDS, self._judge, transport, _not_taken(transport)
        )

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _judge(self, transport: asyncio.Transport, left: int) -> None:
        self._timer = None
        if _not_taken(transport) < left:
            self.begin(transport)
        else:
            self._give_up()


def _not_taken(transport: asyncio.Transport) -> int:
    """The bytes that the client has not acknowledged: those that wait here, and those of the system.

    The system's megabytes may take long to be read before the first one leaves us; a slow client does read.
    """
    waiting = transport.get_write_buffer_size()
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        in_kernel = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return waiting
    return waiting + int.from_bytes(in_kernel, sys.byteorder)


def abort(transport: asyncio.Transport) -> None:
    """Reset the connection: after a plain close the system would go on offering its megabytes."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    transport.abort()


class HttpConnection(HttpToolsProtocol):
    """Requests and their answers, streams of events and downloads among them.

    The parser takes heads of any length, and trailers behind a body in chunks; past 64 KiB the request is
    refused. Trailers are no headers: a proxy that names the user there may hand on what the user wrote.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = WriteTimeout(self._cut)
        self._is_head_read = False
        self._has_moved = False
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._has_moved = False
        super().data_received(data)
        self._head_bytes = 0 if self._has_moved else self._head_bytes + len(data)
        if self._head_bytes > _MOST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._is_head_read = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head_read:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_head_read = self._has_moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_moved = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.begin(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.end()
        super().connection_lost(exc)

    def _cut(self) -> None:
        abort(self.transport)
