"""One WebSocket on its connection: paced by pongs, closed with 1013 when the client has stopped reading."""

import asyncio
import random
import struct
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.api.server.flow_control import LEAST, SendWindow
from headrace.api.server.http_protocol import WriteTimeout, abort

TRY_LATER: Final = 1013
# Under this name the connection itself stands in the ASGI scope.
EXTENSION: Final = "headrace.connection"
_LAST_SECONDS: Final = 3.0
_KEEPALIVE_SECONDS: Final = 15.0
# A keepalive has little before it; other pings are sent at once behind half a window.
_KEEPALIVE_PONG_SECONDS: Final = 14.0
_PONG_SECONDS: Final = 24.0
_REASON: Final = "the client does not read"


class SocketConnection(WebSocketsSansIOProtocol):
    """A client that stopped is told so behind what it has not read, and cut where it does not take that."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = WriteTimeout(self._give_up)
        self._pace = SendWindow(random.randrange(LEAST // 2))  # noqa: S311  (spreads load, hides nothing)
        self._room: asyncio.Event | None = None
        self._pings = 0
        self._keepalive: asyncio.TimerHandle | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._cutting: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        self.scope["extensions"] = {**(self.scope["extensions"] or {}), EXTENSION: self}  # type: ignore[dict-item]
        await super().run_asgi()

    def write_messages(self, data: bytes, messages: int) -> bool:
        """Write *data*, so many whole messages, unless the client has to read first or is gone."""
        if self._pace.is_full or not self.writable.is_set() or self.close_sent or self.disconnected:
            return False
        if self.transport.is_closing():
            return False
        self.transport.write(data)
        self._pace.count(messages)
        if self._pace.should_ask:
            self._ping(_PONG_SECONDS)
        return True

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] != "websocket.send":
            if message["type"] == "websocket.close":
                # It goes behind what waits; a client that reads no more must not hold it up.
                self.writable.set()
                self._cut_later()
            await super().send(message)
            return
        while self._pace.is_full and not self.disconnected:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            await self._room.wait()
        await super().send(message)
        self._pace.count()
        if self._pace.should_ask:
            self._ping(_PONG_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.begin(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.end()
        if self._cutting is not None:
            self._cutting.cancel()
        super().connection_lost(exc)
        self._make_room()

    def start_keepalive(self) -> None:
        """The first ping goes before everything else: from its pong on the client is paced."""
        # Of thousands of idle sockets each would keep its handshake.
        del self.request, self.response
        self._ping(_PONG_SECONDS)

    def stop_keepalive(self) -> None:
        for timer in (self._keepalive, self._overdue):
            if timer is not None:
                timer.cancel()
        self._keepalive = self._overdue = None
        self.pending_ping_payload = None

    def handle_pong(self, event: Any) -> None:
        """Of the ping under way; what else is called a pong says nothing."""
        if self.pending_ping_payload is None or bytes(event.data) != self.pending_ping_payload:
            return
        self.stop_keepalive()
        self._pace.answer(self.loop.time())
        self._make_room()
        if self._pace.should_ask:
            self._ping(_PONG_SECONDS)
        else:
            self._keepalive = self.loop.call_later(_KEEPALIVE_SECONDS, self._ping, _KEEPALIVE_PONG_SECONDS)

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()

    def _ping(self, patience_seconds: float) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self._pings += 1
        self.pending_ping_payload = struct.pack("!I", self._pings)
        self._pace.ask(self.loop.time())
        self.conn.send_ping(self.pending_ping_payload)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._overdue = self.loop.call_later(patience_seconds, self._miss_pong)

    def _miss_pong(self) -> None:
        """One that never answers pings is judged by them only while it has little to read."""
        self._overdue = None
        if self._pace.has_answered or self._pace.unread <= LEAST:
            self._give_up()

    def _give_up(self) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": TRY_LATER, "reason": _REASON})
        self.conn.send_close(TRY_LATER, _REASON)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self._cut_later()

    def _cut_later(self) -> None:
        """Where the buffer does not empty soon, closing would wait for a client that does not read."""
        if self._cutting is None:
            self._cutting = self.loop.call_later(_LAST_SECONDS, self._cut)

    def _cut(self) -> None:
        if self.transport.get_write_buffer_size():
            abort(self.transport)
