"""Parses what a connection has received in small parts, so that other connections have their turns between.

One read of a socket may hold a quarter of a megabyte. Of tiny frames or requests, that would take the event
loop half a second.
"""

import asyncio
from typing import Final

_PARTS_PER_TURN: Final = 2


class Intake(asyncio.Protocol):
    """A protocol that parses up to two parts in a turn of the event loop, and reads nothing more meanwhile.

    Mix it in before uvicorn's protocol, which sets `transport` and `loop`.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    part_bytes: int = 4 * 1024
    _held: bytearray | None = None
    _is_turn_scheduled: bool = False

    def may_parse(self) -> bool:
        """Return whether the next part may be parsed now."""
        raise NotImplementedError

    def parse(self, data: bytes) -> None:
        """Parse one part."""
        raise NotImplementedError

    def resume_transport(self) -> None:
        """Read from the socket again; nothing is held."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if not self._held and len(data) <= self.part_bytes and self.may_parse():
            self.parse(data)
            return
        self._held = self._held or bytearray()
        self._held += data
        if not self.transport.is_closing():
            self.transport.pause_reading()
        if not self._is_turn_scheduled:
            self._take_turn()

    def go_on(self) -> None:
        """Parse what is held, or read again, after something has made the protocol wait."""
        if not self._held:
            self.resume_transport()
        elif not self._is_turn_scheduled:
            self._schedule_turn()

    def discard_held(self) -> None:
        self._held = None

    def _schedule_turn(self) -> None:
        self._is_turn_scheduled = True
        self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_turn_scheduled = False
        for _ in range(_PARTS_PER_TURN):
            if not self._held or self.transport.is_closing() or not self.may_parse():
                break
            part = bytes(self._held[: self.part_bytes])
            del self._held[: self.part_bytes]
            self.parse(part)
        if self.transport.is_closing():
            self.discard_held()
        elif not self._held:
            self.resume_transport()
        elif self.may_parse():
            self._schedule_turn()
