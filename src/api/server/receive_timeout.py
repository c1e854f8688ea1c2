"""Closes connections whose client sends a request too slowly, or none."""

import asyncio
from typing import Final, Literal

IDLE_SECONDS: Final = 30.0
HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 20.0
MIN_BODY_BYTES: Final = 4 * 1024

_Part = Literal["idle", "head", "body"]


class ReceiveTimeout(asyncio.Protocol):
    """A protocol that waits 30 s for the first request and 10 s for a whole head.

    It waits for a body as long as 4 KiB of it arrive every 20 s; time in which the server does not read is
    not counted. Mix it in before uvicorn's protocol, which sets `transport` and `loop`.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _timed: _Part | None = None
    _receive_timer: asyncio.TimerHandle | None = None
    _received: int = 0
    _received_before: int = 0

    @property
    def is_head_open(self) -> bool:
        """Whether a head has begun, even with empty lines before it, and is not complete."""
        raise NotImplementedError

    @property
    def is_body_open(self) -> bool:
        """Whether a body is not complete, even if the request was answered."""
        raise NotImplementedError

    @property
    def is_reading(self) -> bool:
        """Whether the server takes what the client sends."""
        raise NotImplementedError

    def on_idle_timeout(self) -> None:
        """React to a client that begins no request."""
        raise NotImplementedError

    def on_receive_timeout(self) -> None:
        """React to a request that does not arrive in time."""
        raise NotImplementedError

    def start_idle_timer(self) -> None:
        """Close the connection unless a request begins soon."""
        self._start("idle")

    def watch_request(self, received: int) -> None:
        """Time the open part of a request after *received* bytes were parsed."""
        self._received += received
        part: _Part | None = "head" if self.is_head_open else "body" if self.is_body_open else None
        if part == self._timed:
            return
        self.stop_receive_timer()
        if part is not None and not self.transport.is_closing():
            self._start(part)

    def stop_receive_timer(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
        self._receive_timer = self._timed = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_receive_timer()
        super().connection_lost(exc)

    def _start(self, part: _Part) -> None:
        seconds = {"idle": IDLE_SECONDS, "head": HEAD_SECONDS, "body": BODY_SECONDS}[part]
        self._timed, self._received_before = part, self._received
        self._receive_timer = self.loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        part, self._timed, self._receive_timer = self._timed, None, None
        if self.transport.is_closing():
            return
        if part == "idle":
            self.on_idle_timeout()
        elif part == "head":
            if self.is_reading:
                self.on_receive_timeout()
            else:
                self._start("head")
        elif self.is_body_open:
            if self.is_reading and self._received - self._received_before < MIN_BODY_BYTES:
                self.on_receive_timeout()
            else:
                self._start("body")
