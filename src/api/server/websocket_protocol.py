"""uvicorn's WebSocket protocol, which sends only as fast as pongs show that the client reads.

A client that has stopped reading is closed with 1013; if it does not take the close, its connection is reset.
Nothing is read before the caller is admitted. A client that sends too many frames is closed with 1008.
"""

import asyncio
import random
import struct
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from headrace.api.server.flow_control import MIN_WINDOW, SendWindow
from headrace.api.server.frame_budget import FrameBudget
from headrace.api.server.intake import Intake
from headrace.api.server.refusals import Refusal
from headrace.api.server.turns import Turns
from headrace.api.server.write_timeout import WriteTimeout, reset_connection

POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
# The key under which the ASGI scope's `extensions` hold the protocol itself.
EXTENSION: Final = "headrace.connection"
_CLOSE_TIMEOUT_SECONDS: Final = 3.0
_KEEPALIVE_SECONDS: Final = 15.0
# A keepalive has little to wait behind; a ping after a message may have half a window before it.
_KEEPALIVE_PONG_SECONDS: Final = 14.0
_PONG_SECONDS: Final = 24.0
# After a close was sent, only the client's own close matters, which is small.
_MAX_CLOSING_BYTES: Final = 1024
_LINE_TOO_LONG: Final = Refusal(
    b"431 Request Header Fields Too Large",
    "head_too_large",
    "a line in the head of a WebSocket's request has at most 8 KiB",
)


class WebSocketProtocol(WriteTimeout, Intake, WebSocketsSansIOProtocol):
    """One WebSocket whose messages are paced by a `SendWindow`, and whose client has a `FrameBudget`."""

    part_bytes = 512

    def __init__(self, *args: Any, turns: Turns, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turns = turns
        self.read_paused = True
        self.close_timeout = _CLOSE_TIMEOUT_SECONDS
        self._is_admitted = False
        self._budget = FrameBudget(self.loop.time())
        self._closing_bytes = 0
        self._window = SendWindow(random.randrange(MIN_WINDOW // 2))  # noqa: S311  (spreads load, hides nothing)
        self._window_opened: asyncio.Event | None = None
        self._ping_count = 0
        self._keepalive_timer: asyncio.TimerHandle | None = None
        self._pong_deadline: asyncio.TimerHandle | None = None
        self._close_deadline: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), EXTENSION: self}
        self.scope["extensions"] = extensions
        try:
            await super().run_asgi()
        finally:
            # Without this cycle and that of the parser, its memory is free at once.
            del extensions[EXTENSION]
            self.watch_closing()

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            self._receive_handshake(data)
        elif self.close_sent:
            self._closing_bytes += len(data)
            if self._closing_bytes > _MAX_CLOSING_BYTES:
                self.transport.close()
            else:
                super(Intake, self).data_received(data)
        else:
            super().data_received(data)
        self.watch_closing()

    def _receive_handshake(self, data: bytes) -> None:
        """Parse the head that `HttpProtocol` passes on. The WebSocket library refuses lines above 8 KiB."""
        super(Intake, self).data_received(data)
        if not self.handshake_initiated:
            self.transport.write(_LINE_TOO_LONG.response())
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.pause_reading()

    def may_parse(self) -> bool:
        return self._is_admitted and not self.read_paused and not self.close_sent

    def parse(self, data: bytes) -> None:
        self.conn.receive_data(data)
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
        elif self._budget.take(len(self.conn.events), self.loop.time()):
            self.handle_events()
        else:
            self._close_now(POLICY_VIOLATION, "too many frames")
        self.watch_closing()

    def resume_transport(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def start_reading(self) -> None:
        """Read what the client sends, now that it is admitted."""
        self._is_admitted = True
        self._read_on()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self._is_admitted and self.queue.empty():
            self._read_on()
        return message

    def _read_on(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.go_on()

    def write_messages(self, data: bytes, messages: int) -> bool:
        """Write *data*, *messages* whole messages; return False if the client must read first or is gone."""
        if self._window.is_full or not self.writable.is_set() or self.close_sent or self.disconnected:
            return False
        if self.transport.is_closing():
            return False
        self.transport.write(data)
        self._window.count(messages)
        if self._window.is_ping_due:
            self._send_ping(_PONG_SECONDS)
        return True

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] != "websocket.send":
            if message["type"] == "websocket.close":
                # The close goes behind the buffered messages: a stalled client must not block the handler.
                self.writable.set()
                self._start_close_deadline()
            await super().send(message)
            return
        while self._window.is_full and not self.disconnected:
            self._window_opened = self._window_opened or asyncio.Event()
            self._window_opened.clear()
            await self._window_opened.wait()
        await super().send(message)
        self._window.count()
        if self._window.is_ping_due:
            self._send_ping(_PONG_SECONDS)

    def on_write_timeout(self) -> None:
        self._close_stalled()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        super().connection_lost(exc)
        self.conn.parser.close()
        if self.conn.parser_exc is not None:
            # Without this cycle as well.
            self.conn.parser_exc.__traceback__ = None
        self._release_senders()

    def start_keepalive(self) -> None:
        """Send the first ping before every message: its pong tells that the client can be paced."""
        # An idle socket would keep its handshake in memory, and there are thousands.
        del self.request, self.response
        self._send_ping(_PONG_SECONDS)

    def stop_keepalive(self) -> None:
        for timer in (self._keepalive_timer, self._pong_deadline):
            if timer is not None:
                timer.cancel()
        self._keepalive_timer = self._pong_deadline = None
        self.pending_ping_payload = None

    def handle_pong(self, event: Any) -> None:
        """Count the pong of the pending ping; ignore every other pong."""
        if self.pending_ping_payload is None or bytes(event.data) != self.pending_ping_payload:
            return
        self.stop_keepalive()
        self._budget.give_back()
        self._window.pong_received(self.loop.time())
        self._release_senders()
        if self._window.is_ping_due:
            self._send_ping(_PONG_SECONDS)
        else:
            self._keepalive_timer = self.loop.call_later(
                _KEEPALIVE_SECONDS, self._send_ping, _KEEPALIVE_PONG_SECONDS
            )

    def _release_senders(self) -> None:
        if self._window_opened is not None:
            self._window_opened.set()

    def _send_ping(self, pong_seconds: float) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self._ping_count += 1
        self.pending_ping_payload = struct.pack("!I", self._ping_count)
        self._window.ping_sent(self.loop.time())
        self.conn.send_ping(self.pending_ping_payload)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._pong_deadline = self.loop.call_later(pong_seconds, self._on_pong_missed)

    def _on_pong_missed(self) -> None:
        """Close the socket, unless the client may be busy: it has much to read and has never sent a pong."""
        self._pong_deadline = None
        if self._window.has_ponged or self._window.unread <= MIN_WINDOW:
            self._close_stalled()

    def _close_stalled(self) -> None:
        self._close_now(TRY_AGAIN_LATER, "the client does not read")

    def _close_now(self, code: int, reason: str) -> None:
        """Send a close and end the connection, without waiting for the client's own close."""
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.discard_held()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self._start_close_deadline()

    def watch_closing(self) -> None:
        if self._has_unread_end():
            self._start_close_deadline()

    def _start_close_deadline(self) -> None:
        """Bound how long the close may wait for the client to take the buffered bytes."""
        if self._close_deadline is None:
            self._close_deadline = self.loop.call_later(_CLOSE_TIMEOUT_SECONDS, self._on_close_deadline)

    def _on_close_deadline(self) -> None:
        if self.transport.get_write_buffer_size():
            reset_connection(self.transport)


def encode_text_message(payload: bytes) -> bytes:
    """Return *payload*, which is UTF-8, as the bytes of one WebSocket text message from a server."""
    return Frame(Opcode.TEXT, payload).serialize(mask=False)
