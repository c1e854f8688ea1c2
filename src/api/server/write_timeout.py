"""Resets connections whose client has stopped reading.

uvicorn pauses a response once 64 KiB wait for the client, and lets it wait forever. A plain close also waits
until the client has read the rest, however little that is.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import Final

_TIMEOUT_SECONDS: Final = 25.0


class WriteTimeout(asyncio.Protocol):
    """A protocol whose client must acknowledge some bytes every 25 s while the write buffer is full.

    It must as well while the connection closes, until the buffer is empty.

    Mix it in before uvicorn's protocol, which sets `transport`.
    """

    transport: asyncio.Transport
    _write_timer: asyncio.TimerHandle | None = None
    _is_lost: bool = False

    def close_soon(self) -> None:
        """Close the connection once the client has read what is buffered for it."""
        self.transport.close()
        self.watch_closing()

    def watch_closing(self) -> None:
        """Reset the connection, if it is closing, unless the client reads on."""
        if self._write_timer is None and self._has_unread_end():
            self._start_write_timer()

    def reset_if_unread(self) -> None:
        """Reset the connection if it is closing and waits for its client."""
        if self._has_unread_end():
            reset_connection(self.transport)

    def on_write_timeout(self) -> None:
        """React to a client that has stopped reading: by default, reset the connection."""
        reset_connection(self.transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()
        self.watch_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._stop_write_timer()
        super().connection_lost(exc)

    def _has_unread_end(self) -> bool:
        return (
            not self._is_lost and self.transport.is_closing() and bool(self.transport.get_write_buffer_size())
        )

    def _start_write_timer(self) -> None:
        self._stop_write_timer()
        self._write_timer = asyncio.get_running_loop().call_later(
            _TIMEOUT_SECONDS, self._check_write_progress, _unacknowledged_bytes(self.transport)
        )

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _check_write_progress(self, bytes_before: int) -> None:
        self._write_timer = None
        if _unacknowledged_bytes(self.transport) < bytes_before:
            self._start_write_timer()
        else:
            self.on_write_timeout()


def reset_connection(transport: asyncio.Transport) -> None:
    """Reset the connection, so that the kernel drops the megabytes that it still holds for the client."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    transport.abort()


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that the client has not acknowledged: those buffered here and those in the kernel.

    The kernel's bytes count because a slow client may read them for minutes before our own buffer shrinks.
    """
    buffered = transport.get_write_buffer_size()
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        in_kernel = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return buffered
    return buffered + int.from_bytes(in_kernel, sys.byteorder)
