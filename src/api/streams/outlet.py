"""The short way onto a socket: frames that are bytes on the wire already, made once for all watchers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from litestar import WebSocket
from msgspec import Struct
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from headrace.api.socket_connection import EXTENSION


class Packet(Struct, frozen=True):
    """Whole WebSocket messages, one after the other."""

    data: bytes
    messages: int


Pack = Callable[[Sequence[bytes]], Packet]


class Connection(Protocol):
    """A socket that takes such bytes where it has room for them."""

    def write_messages(self, data: bytes, messages: int) -> bool: ...


def pack_each(frames: Sequence[bytes]) -> Packet:
    """A message for each frame."""
    return Packet(b"".join(map(_message, frames)), len(frames))


def pack_together(frames: Sequence[bytes]) -> Packet:
    """One message for all."""
    return Packet(_message(as_one(frames)), 1)


def as_one(frames: Sequence[bytes]) -> bytes:
    """What one message says for several frames: the frame, or a JSON array of them."""
    return frames[0] if len(frames) == 1 else b"[" + b",".join(frames) + b"]"


class Outlet:
    """A watcher's socket. *pack* makes its packets."""

    def __init__(self, connection: Connection, pack: Pack) -> None:
        self._connection: Final = connection
        self.pack: Final = pack

    def write(self, packet: Packet) -> bool:
        """Send *packet* at once; False where it would have to wait: then nothing of it was sent."""
        return self._connection.write_messages(packet.data, packet.messages)


def outlet_of(socket: WebSocket[Any, Any, Any], *, in_batches: bool) -> Outlet | None:
    """None where another server than ours holds the connection."""
    extensions: Mapping[Any, Any] = socket.scope.get("extensions") or {}
    connection: Connection | None = extensions.get(EXTENSION)
    return None if connection is None else Outlet(connection, pack_together if in_batches else pack_each)


def _message(payload: bytes) -> bytes:
    return WireFrame(Opcode.TEXT, payload).serialize(mask=False)
