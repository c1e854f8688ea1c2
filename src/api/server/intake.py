"""Parses what a connection has received in small parts, so that other connections have their turns between.

A few kilobytes of tiny frames or requests take the event loop tens of milliseconds.
"""

import asyncio
from typing import Final

from headrace.api.server.turns import Turns

_PARTS_AT_ONCE: Final = 2


class Intake(asyncio.Protocol):
    """A protocol that parses up to two parts at once, and reads nothing more while it holds others.

    Mix it in before uvicorn's protocol, which sets `transport`, and set `turns`.
    """

    transport: asyncio.Transport
    turns: Turns
    part_bytes: int = 4 * 1024
    _held: bytearray | None = None
    _is_queued: bool = False

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
        if (
            not self._held
            and len(data) <= self.part_bytes
            and self.may_parse()
            and self.turns.may_parse_at_once(data)
        ):
            self.parse(data)
            return
        self._held = self._held or bytearray()
        self._held += data
        if not self.transport.is_closing():
            self.transport.pause_reading()
        self._enqueue()

    def go_on(self) -> None:
        """Parse what is held, or read again, after something has made the protocol wait."""
        if self._held:
            self._enqueue()
        else:
            self.resume_transport()

    def discard_held(self) -> None:
        self._held = None

    def take_turn(self) -> None:
        self._is_queued = False
        for _ in range(_PARTS_AT_ONCE):
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
            self._enqueue()

    def _enqueue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self.turns.enqueue(self)
