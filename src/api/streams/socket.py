"""WS /jobs/{id}/ws: the frames of a job, and three words from the client."""

import asyncio
import contextlib
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from msgspec import Struct

from adapters.tasks import end_tasks
from api.authentication import CurrentUser
from api.dependencies import Services
from api.problems import DATABASE_ERRORS
from api.streams.opening import open_session
from api.streams.session import Session, encode
from domain.database import TRANSIENT
from domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError
from domain.jobs.service import JobService
from domain.jobs.states import IllegalTransitionError

_log = structlog.get_logger(__name__)

_SEND_SECONDS: Final = 25.0
_LONGEST_MESSAGE: Final = 64 * 1024
_ENDED, _GOING_AWAY, _TRY_LATER, _BAD_CURSOR, _NOT_FOUND = 1000, 1012, 1013, 4400, 4404


class Ping(Struct, tag="ping"):
    """Answered with `pong`."""


class Cancel(Struct, tag="cancel"):
    """As POST /jobs/{id}/cancel."""


class Resume(Struct, tag="resume"):
    """Go on from another event."""

    after: int


_decoder: Final = msgspec.json.Decoder(Ping | Cancel | Resume)


class SlowReaderError(Exception):
    """The client does not read."""


@websocket("/jobs/{job_id:str}/ws")
async def stream_job(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """Send every event past `after`; close when the job is final and all was sent."""
    # Accepted before anything is judged: a browser cannot read a refused handshake.
    await socket.accept()
    try:
        job_id = UUID(socket.path_params["job_id"])
    except ValueError:
        await _close(socket, _NOT_FOUND, "there is no such job")
        return
    cursor = _cursor(socket.query_params.get("after", "0"))
    if cursor is None:
        await _refuse_cursor(socket, "after is a whole number from 0")
        return
    try:
        user = await services.authenticator.authenticate(socket)
    except DATABASE_ERRORS:
        await _close(socket, _TRY_LATER, "PostgreSQL is not available")
        return
    session = open_session(services, user, job_id, cursor)
    in_batches = socket.query_params.get("batch", "").lower() in ("true", "1")
    listener = asyncio.create_task(_listen(socket, session, services, user, job_id))
    reason = "disconnected"
    try:
        reason = await _send_all(socket, session, listener, in_batches=in_batches)
    finally:
        await end_tasks([listener])
        _log.info("stream_closed", job_id=str(job_id), reason=reason, frames_sent=session.frames_sent)


async def _send_all(
    socket: WebSocket[Any, Any, Any], session: Session, listener: "asyncio.Task[None]", *, in_batches: bool
) -> str:
    """Send until the stream or the client ends; returns why it did."""
    sender = asyncio.create_task(_send_frames(socket, session, in_batches=in_batches))
    try:
        await asyncio.wait({sender, listener}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks([sender])
    if sender.cancelled():
        return "disconnected"
    return await _part(socket, session, sender.exception())


async def _part(socket: WebSocket[Any, Any, Any], session: Session, error: BaseException | None) -> str:
    """Close with the code that says why the stream is over."""
    reason: str = session.end or "ended"
    match error:
        case None:
            code = {"ended": _ENDED, "deleted": _NOT_FOUND, "closing": _GOING_AWAY}[reason]
            await _close(socket, code, reason)
        case JobNotFoundError():
            reason = "not_found"
            await _close(socket, _NOT_FOUND, str(error))
        case CursorBeyondHeadError():
            reason = "cursor_beyond_head"
            await _refuse_cursor(socket, str(error))
        case SlowReaderError():
            reason = "slow_reader"
            await _close(socket, _TRY_LATER, "the client does not read")
        case _ if isinstance(error, (*TRANSIENT, *DATABASE_ERRORS)):
            reason = "database_away"
            await _close(socket, _TRY_LATER, "PostgreSQL is not available")
        case WebSocketDisconnect():
            reason = "disconnected"
        case _:
            raise error
    return reason


async def _send_frames(socket: WebSocket[Any, Any, Any], session: Session, *, in_batches: bool) -> None:
    async for group in session.frames():
        if in_batches and len(group) > 1:
            await _send(socket, b"[" + b",".join(frame.data for frame in group) + b"]")
        else:
            for frame in group:
                await _send(socket, frame.data)


async def _send(socket: WebSocket[Any, Any, Any], data: bytes) -> None:
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await socket.send_data(data.decode(), mode="text")
    except TimeoutError as error:
        raise SlowReaderError from error


async def _listen(
    socket: WebSocket[Any, Any, Any], session: Session, services: Services, user: CurrentUser, job_id: UUID
) -> None:
    """Hear the client until it leaves. What it says wrongly is answered; the socket stays open."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            raw: str | bytes = message.get("text") or message.get("bytes") or b""  # type: ignore[assignment]
            try:
                if len(raw) > _LONGEST_MESSAGE:
                    raise msgspec.ValidationError(f"a message has at most {_LONGEST_MESSAGE} bytes")
                await _obey(_decoder.decode(raw), session, services, user, job_id)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                session.reply({"type": "error", "code": "frame_invalid", "message": str(error)[:200]})
            except CursorBeyondHeadError as error:
                session.reply({"type": "error", "code": "cursor_beyond_head", "message": str(error)})
            except IllegalTransitionError as error:
                session.reply({"type": "error", "code": "illegal_transition", "message": str(error)})
            except JobNotFoundError as error:
                session.reply({"type": "error", "code": "job_not_found", "message": str(error)})
            except DATABASE_ERRORS:
                text = "PostgreSQL is not available"
                session.reply({"type": "error", "code": "database_unavailable", "message": text})


async def _obey(
    word: Ping | Cancel | Resume, session: Session, services: Services, user: CurrentUser, job_id: UUID
) -> None:
    match word:
        case Ping():
            session.reply({"type": "pong"})
        case Resume(after=after):
            if after < 0:
                raise msgspec.ValidationError("after is a whole number from 0")
            session.resume(after)
        case Cancel():
            async with services.sessions.begin() as database:
                jobs = JobService(session=database)
                await jobs.cancel(job_id, user.id)
            services.publisher.publish(jobs.news)


def _cursor(raw: str) -> int | None:
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 18 else None


async def _refuse_cursor(socket: WebSocket[Any, Any, Any], message: str) -> None:
    body = {"type": "error", "code": "cursor_beyond_head", "message": message}
    with contextlib.suppress(WebSocketDisconnect, SlowReaderError):
        await _send(socket, encode(body))
    await _close(socket, _BAD_CURSOR, message)


async def _close(socket: WebSocket[Any, Any, Any], code: int, reason: str) -> None:
    with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
        async with asyncio.timeout(2):
            await socket.close(code=code, reason=reason[:120])
