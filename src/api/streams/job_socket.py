"""WS /jobs/{id}/ws: streams one job, and takes `ping`, `cancel` and `resume` from the client."""

from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency

from headrace.api.auth.audit import record_admin_action
from headrace.api.auth.request_info import RequestInfo
from headrace.api.dependencies import Services
from headrace.api.live.frames import Cancel, Ping, Pong, Resume, framed
from headrace.api.live.job_stream import JobStream
from headrace.api.live.socket_transport import (
    BAD_REQUEST,
    NOT_FOUND,
    Socket,
    mark_accepted,
    refuse,
    serve_stream,
)
from headrace.api.middleware.query_names import explain_unknown_names
from headrace.api.streams.snapshots import open_job_stream
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.service import JobService

_log = structlog.get_logger(__name__)

_decode: Final = msgspec.json.Decoder(Ping | Cancel | Resume).decode


@websocket("/jobs/{job_id:str}/ws", scope=Scope.JOBS_READ, job_token=True, query=("after", "batch"))
async def stream_job(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """Send every event past `after`; close when the job is final and all was sent."""
    mark_accepted(socket)
    user: CurrentUser = socket.scope["user"]
    try:
        job_id = UUID(socket.path_params["job_id"])
    except ValueError:
        await refuse(socket, NOT_FOUND, "there is no such job")
        return
    if (fault := explain_unknown_names(socket.query_params, socket.route_handler.opt)) is not None:
        await refuse(socket, BAD_REQUEST, fault, error="validation_failed")
        return
    cursor = _parse_cursor(socket.query_params.get("after", "0"))
    if cursor is None:
        await refuse(socket, BAD_REQUEST, "after is a whole number from 0", error="cursor_beyond_head")
        return
    stream = open_job_stream(services, user, job_id, cursor)
    in_batches = socket.query_params.get("batch", "").lower() in ("true", "1")
    reason = "disconnected"
    try:
        with services.revocation_watch.watched(user, stream.sign_out):
            reason = await serve_stream(
                socket,
                stream,
                partial(_on_message, socket, stream, services, job_id),
                in_batches=in_batches,
            )
    finally:
        _log.info("stream_closed", job_id=str(job_id), reason=reason, frames_sent=stream.frames_sent)


async def _on_message(
    socket: Socket, stream: JobStream, services: Services, job_id: UUID, raw: bytes | str
) -> None:
    match _decode(raw):
        case Ping():
            stream.answer(framed(Pong()))
        case Resume(after=after):
            stream.resume(after)
        case Cancel():
            user: CurrentUser = socket.scope["user"]
            user.needs(Scope.JOBS_WRITE)
            await services.limits.count_user(RequestInfo(socket.scope), user, is_write=True)
            async with services.sessions.begin() as session:
                jobs = JobService(session=session)
                await jobs.cancel(job_id, user.reach)
                if jobs.news:
                    record_admin_action(session, socket, action="cancelJob")
            services.publisher.publish(jobs.news)


def _parse_cursor(raw: str) -> int | None:
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 18 else None
