"""Writes frames to a socket as bytes that were encoded once for all watchers of a job."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from litestar import WebSocket
from msgspec import Struct

from headrace.api.server.websocket_protocol import EXTENSION, encode_text_message


class Packet(Struct, frozen=True):
    """Encoded WebSocket messages, one behind the other; *messages* is their number."""

    data: bytes
    messages: int


PacketEncoder = Callable[[Sequence[bytes]], Packet]


class DirectConnection(Protocol):
    """A connection that takes whole encoded messages, or none of them when it has no room."""

    def write_messages(self, data: bytes, messages: int) -> bool: ...


def encode_each(frames: Sequence[bytes]) -> Packet:
    """Encode each frame as a message."""
    return Packet(b"".join(map(encode_text_message, frames)), len(frames))


def encode_batch(frames: Sequence[bytes]) -> Packet:
    """Encode all frames as one message."""
    return Packet(encode_text_message(join_frames(frames)), 1)


def join_frames(frames: Sequence[bytes]) -> bytes:
    """Return the JSON of one message for several frames: the frame itself, or an array of them."""
    return frames[0] if len(frames) == 1 else b"[" + b",".join(frames) + b"]"


class DirectWriter:
    """A watcher's way past Litestar to its connection, with the encoding that the watcher chose."""

    def __init__(self, connection: DirectConnection, encode_packet: PacketEncoder) -> None:
        self._connection: Final = connection
        self.encode_packet: Final = encode_packet

    def write(self, packet: Packet) -> bool:
        """Send *packet* at once, or nothing of it and return False when it would have to wait."""
        return self._connection.write_messages(packet.data, packet.messages)


def direct_writer_of(socket: WebSocket[Any, Any, Any], *, in_batches: bool) -> DirectWriter | None:
    """Return a writer for *socket*; None when another server than ours holds the connection."""
    extensions: Mapping[Any, Any] = socket.scope.get("extensions") or {}
    connection: DirectConnection | None = extensions.get(EXTENSION)
    if connection is None:
        return None
    return DirectWriter(connection, encode_batch if in_batches else encode_each)
