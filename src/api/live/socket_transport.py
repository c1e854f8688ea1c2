"""Serves a stream on a WebSocket: sends its frames, reads the client, and closes it with a reason."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from litestar import WebSocket
from litestar.connection.base import empty_receive, empty_send
from litestar.exceptions import WebSocketDisconnect

from headrace.adapters.tasks import cancel_and_wait
from headrace.api.database_errors import DATABASE_ERRORS, DATABASE_TROUBLE
from headrace.api.live import frames
from headrace.api.live.direct_writer import direct_writer_of, join_frames
from headrace.api.live.stream import EndReason, SlowReaderError, Stream
from headrace.api.problems import code_of
from headrace.api.server.websocket_protocol import EXTENSION, TRY_AGAIN_LATER
from headrace.domain.database import TRANSIENT
from headrace.domain.errors import HeadraceError
from headrace.domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError

Socket = WebSocket[Any, Any, Any]
OnMessage = Callable[[bytes | str], Awaitable[None]]

# `WebSocketProtocol` closes stalled clients long before. This bounds the wait under another server than ours.
_SEND_TIMEOUT_SECONDS: Final = 600.0
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
_MAX_MESSAGE_BYTES: Final = 64 * 1024
_DATABASE_AWAY: Final = "PostgreSQL is not available"
ENDED, GOING_AWAY, BAD_REQUEST, SIGNED_OUT, NOT_FOUND = 1000, 1012, 4400, 4401, 4404
_CLOSE_CODES: Final[dict[EndReason, int]] = {
    "ended": ENDED,
    "deleted": NOT_FOUND,
    "closing": GOING_AWAY,
    "signed_out": SIGNED_OUT,
}


async def serve_stream(socket: Socket, stream: Stream, on_message: OnMessage, *, in_batches: bool) -> str:
    """Serve until the stream or the client ends, and return why, for the log.

    *on_message* gets each message of the client, and may raise what `_listen` answers. The socket cannot be
    used afterwards.
    """
    stream.direct_writer = direct_writer_of(socket, in_batches=in_batches)
    sender = asyncio.create_task(_send_all(socket, stream, in_batches=in_batches))
    listener = asyncio.create_task(_listen(socket, stream, on_message))
    try:
        await asyncio.wait({sender, listener}, return_when=asyncio.FIRST_COMPLETED)
        if sender.done() and not isinstance(sender.exception(), WebSocketDisconnect):
            return await _close(socket, stream, sender.exception())
        # The listener knows why the client has left.
        return await asyncio.wait_for(listener, _CLOSE_TIMEOUT_SECONDS)
    except TimeoutError:
        return "disconnected"
    finally:
        await cancel_and_wait([sender, listener])
        stream.direct_writer = None
        release(socket)


def mark_accepted(socket: Socket) -> None:
    """Tell Litestar that `Admission` has accepted the socket already, before it authenticated the caller."""
    socket.connection_state = "connect"


def start_reading(socket: Socket) -> None:
    """Let the connection read what the client sends, now that its caller is admitted."""
    extensions: Mapping[Any, Any] = socket.scope.get("extensions") or {}
    connection = extensions.get(EXTENSION)
    if connection is not None:  # another server than ours reads by itself
        connection.start_reading()


def release(socket: Socket) -> None:
    """Let the memory of a socket that is used no more be freed at once: its functions refer to itself."""
    socket.receive, socket.send = empty_receive, empty_send


async def refuse(socket: Socket, code: int, message: str, error: str | None = None) -> None:
    """Close an accepted socket. *error* is the code of an error frame that is sent before."""
    if error is not None:
        with contextlib.suppress(WebSocketDisconnect, SlowReaderError):
            await _send(socket, frames.error(error, message).data)
    with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError, OSError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_SECONDS):
            await socket.close(code=code, reason=message[:120])


async def refuse_unavailable(socket: Socket, error: BaseException) -> None:
    """Close a socket because of one of the `DATABASE_TROUBLE`: the reason says what is wrong."""
    await refuse(socket, TRY_AGAIN_LATER, str(error) if isinstance(error, TRANSIENT) else _DATABASE_AWAY)


async def _close(socket: Socket, stream: Stream, error: BaseException | None) -> str:
    """Close with the code for the stream's end or *error*, and return the reason for the log."""
    match error:
        case None:
            end_reason = stream.end_reason or "ended"
            await refuse(socket, _CLOSE_CODES[end_reason], end_reason)
            return end_reason
        case JobNotFoundError():
            await refuse(socket, NOT_FOUND, str(error))
            return "not_found"
        case CursorBeyondHeadError():
            await refuse(socket, BAD_REQUEST, str(error), error="cursor_beyond_head")
            return "cursor_beyond_head"
        case SlowReaderError():
            await refuse(socket, TRY_AGAIN_LATER, "the client does not read")
            return "slow_reader"
        case _ if isinstance(error, DATABASE_TROUBLE):
            await refuse_unavailable(socket, error)
            return code_of(error) if isinstance(error, TRANSIENT) else "database_away"
        case _:
            raise error


async def _send_all(socket: Socket, stream: Stream, *, in_batches: bool) -> None:
    async for group in stream.frames():
        writer = stream.direct_writer
        payloads = [frame.data for frame in group]
        if writer is not None and writer.write(writer.encode_packet(payloads)):
            continue
        for message in [join_frames(payloads)] if in_batches else payloads:
            await _send(socket, message)


async def _send(socket: Socket, data: bytes) -> None:
    try:
        async with asyncio.timeout(_SEND_TIMEOUT_SECONDS):
            await socket.send_data(data.decode(), mode="text")
    except TimeoutError as error:
        raise SlowReaderError from error
    except OSError as error:
        raise WebSocketDisconnect(detail="the client is gone") from error


async def _listen(socket: Socket, stream: Stream, on_message: OnMessage) -> str:
    """Read the client until it leaves. An invalid message is answered; the socket stays open."""
    while True:
        try:
            message = await socket.receive()
        except WebSocketDisconnect:
            return "disconnected"
        if message["type"] == "websocket.disconnect":
            return "slow_reader" if message.get("code") == TRY_AGAIN_LATER else "disconnected"
        raw: str | bytes = message.get("text") or message.get("bytes") or b""  # type: ignore[assignment]
        try:
            if len(raw) > _MAX_MESSAGE_BYTES:
                raise msgspec.ValidationError(f"a message has at most {_MAX_MESSAGE_BYTES} bytes")
            await on_message(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            stream.answer(frames.error("frame_invalid", str(error)[:200]))
        except HeadraceError as error:
            stream.answer(frames.error(code_of(error), str(error)))
        except DATABASE_ERRORS:
            stream.answer(frames.error("database_unavailable", _DATABASE_AWAY))
