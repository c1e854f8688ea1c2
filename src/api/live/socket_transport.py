"""One socket and one stream: send its frames, hear the client, close with the code that says why."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from headrace.adapters.tasks import cancel_and_wait
from headrace.api.live import frames
from headrace.api.live.direct_writer import DirectWriter, direct_writer_of, join_frames
from headrace.api.live.frames import Frame
from headrace.api.problems import DATABASE_ERRORS, code_of
from headrace.api.server.websocket_protocol import TRY_AGAIN_LATER
from headrace.domain.database import TRANSIENT
from headrace.domain.errors import HeadraceError
from headrace.domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError

Socket = WebSocket[Any, Any, Any]

# The connection judges a client that does not read; this only ends what no connection ends.
_SEND_SECONDS: Final = 600.0
_CLOSE_SECONDS: Final = 2.0
_LONGEST_MESSAGE: Final = 64 * 1024
_AWAY: Final = "PostgreSQL is not available"
ENDED, GOING_AWAY, BAD_REQUEST, SIGNED_OUT, NOT_FOUND = 1000, 1012, 4400, 4401, 4404
_CODES: Final = {"ended": ENDED, "deleted": NOT_FOUND, "closing": GOING_AWAY, "signed_out": SIGNED_OUT}


class SlowReaderError(Exception):
    """The client does not read as much as it should."""


class Stream(Protocol):
    """What a socket carries.

    *end* is why it ended by itself: `ended`, `deleted`, `closing` or `signed_out`. *outlet* is the short way
    to the client.
    """

    end: Any
    frames_sent: int
    direct_writer: DirectWriter | None

    def frames(self) -> AsyncIterator[list[Frame]]: ...

    def answer(self, frame: Frame) -> None: ...


async def serve_stream(
    socket: Socket, stream: Stream, obey: Callable[[bytes | str], Awaitable[None]], *, in_batches: bool
) -> str:
    """Carry until the stream or the client ends; *obey* gets what the client says. Returns why it ended."""
    stream.direct_writer = direct_writer_of(socket, in_batches=in_batches)
    sender = asyncio.create_task(_send_all(socket, stream, in_batches=in_batches))
    listener = asyncio.create_task(_listen(socket, stream, obey))
    try:
        await asyncio.wait({sender, listener}, return_when=asyncio.FIRST_COMPLETED)
        if sender.done() and not isinstance(sender.exception(), WebSocketDisconnect):
            return await _part(socket, stream, sender.exception())
        # Whoever reads hears why the client is gone.
        return await asyncio.wait_for(listener, _CLOSE_SECONDS)
    except TimeoutError:
        return "disconnected"
    finally:
        await cancel_and_wait([sender, listener])


def as_accepted(socket: Socket) -> Socket:
    """The socket as it is: accepted, before it was asked who is there."""
    socket.connection_state = "connect"
    return socket


async def refuse(socket: Socket, code: int, message: str, error: str | None = None) -> None:
    """Close an accepted socket; *error* is the code of a frame that says more before."""
    if error is not None:
        with contextlib.suppress(WebSocketDisconnect, SlowReaderError):
            await _send(socket, frames.error(error, message).data)
    with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError, OSError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await socket.close(code=code, reason=message[:120])


async def refuse_unavailable(socket: Socket) -> None:
    """Close a socket that PostgreSQL is needed for."""
    await refuse(socket, TRY_AGAIN_LATER, _AWAY)


async def _part(socket: Socket, stream: Stream, error: BaseException | None) -> str:
    """Close with the code that says why the stream is over."""
    match error:
        case None:
            reason: str = stream.end or "ended"
            await refuse(socket, _CODES[reason], reason)
        case JobNotFoundError():
            reason = "not_found"
            await refuse(socket, NOT_FOUND, str(error))
        case CursorBeyondHeadError():
            reason = "cursor_beyond_head"
            await refuse(socket, BAD_REQUEST, str(error), error=reason)
        case SlowReaderError():
            reason = "slow_reader"
            await refuse(socket, TRY_AGAIN_LATER, "the client does not read")
        case _ if isinstance(error, (*TRANSIENT, *DATABASE_ERRORS)):
            reason = "database_away"
            await refuse_unavailable(socket)
        case _:
            raise error
    return reason


async def _send_all(socket: Socket, stream: Stream, *, in_batches: bool) -> None:
    async for group in stream.frames():
        outlet = stream.direct_writer
        sent = [frame.data for frame in group]
        if outlet is not None and outlet.write(outlet.encode_packet(sent)):
            continue
        for message in [join_frames(sent)] if in_batches else sent:
            await _send(socket, message)


async def _send(socket: Socket, data: bytes) -> None:
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await socket.send_data(data.decode(), mode="text")
    except TimeoutError as error:
        raise SlowReaderError from error
    except OSError as error:
        raise WebSocketDisconnect(detail="the client is gone") from error


async def _listen(socket: Socket, stream: Stream, obey: Callable[[bytes | str], Awaitable[None]]) -> str:
    """Hear the client until it leaves. What it says wrongly is answered; the socket stays open."""
    while True:
        try:
            message = await socket.receive()
        except WebSocketDisconnect:
            return "disconnected"
        if message["type"] == "websocket.disconnect":
            return "slow_reader" if message.get("code") == TRY_AGAIN_LATER else "disconnected"
        raw: str | bytes = message.get("text") or message.get("bytes") or b""  # type: ignore[assignment]
        try:
            if len(raw) > _LONGEST_MESSAGE:
                raise msgspec.ValidationError(f"a message has at most {_LONGEST_MESSAGE} bytes")
            await obey(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            stream.answer(frames.error("frame_invalid", str(error)[:200]))
        except HeadraceError as error:
            stream.answer(frames.error(code_of(error), str(error)))
        except DATABASE_ERRORS:
            stream.answer(frames.error("database_unavailable", _AWAY))
