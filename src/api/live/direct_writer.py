"""The short way onto a socket: frames that are bytes on the wire already, made once for all watchers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from litestar import WebSocket
from msgspec import Struct
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from headrace.api.server.websocket_protocol import EXTENSION


class Packet(Struct, frozen=True):
    """Whole WebSocket messages, one after the other."""

    data: bytes
    messages: int


PacketEncoder = Callable[[Sequence[bytes]], Packet]


class DirectConnection(Protocol):
    """A socket that takes such bytes where it has room for them."""

    def write_messages(self, data: bytes, messages: int) -> bool: ...


def encode_each(frames: Sequence[bytes]) -> Packet:
    """A message for each frame."""
    return Packet(b"".join(map(_message, frames)), len(frames))


def encode_batch(frames: Sequence[bytes]) -> Packet:
    """One message for all."""
    return Packet(_message(join_frames(frames)), 1)


def join_frames(frames: Sequence[bytes]) -> bytes:
    """What one message says for several frames: the frame, or a JSON array of them."""
    return frames[0] if len(frames) == 1 else b"[" + b",".join(frames) + b"]"


class DirectWriter:
    """A watcher's socket. *pack* makes its packets."""

    def __init__(self, connection: DirectConnection, pack: PacketEncoder) -> None:
        self._connection: Final = connection
        self.encode_packet: Final = pack

    def write(self, packet: Packet) -> bool:
        """Send *packet* at once; False where it would have to wait: then nothing of it was sent."""
        return self._connection.write_messages(packet.data, packet.messages)


def direct_writer_of(socket: WebSocket[Any, Any, Any], *, in_batches: bool) -> DirectWriter | None:
    """None where another server than ours holds the connection."""
    extensions: Mapping[Any, Any] = socket.scope.get("extensions") or {}
    connection: DirectConnection | None = extensions.get(EXTENSION)
    return (
        None if connection is None else DirectWriter(connection, encode_batch if in_batches else encode_each)
    )


def _message(payload: bytes) -> bytes:
    return WireFrame(Opcode.TEXT, payload).serialize(mask=False)
