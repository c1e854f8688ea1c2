"""GET /jobs/{id}/stream: streams one job as server-sent events, with the frames of its socket."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream
from sqlalchemy.exc import SQLAlchemyError

from headrace.api.database_errors import DATABASE_TROUBLE
from headrace.api.dependencies import Services
from headrace.api.errors import InvalidInputError
from headrace.api.live.frames import Frame
from headrace.api.live.job_stream import JobStream
from headrace.api.streams.snapshots import open_job_stream
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.database import is_outage
from headrace.domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError
from headrace.domain.jobs.states import FINAL_STATES

_log = structlog.get_logger(__name__)

_TO_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
# A proxy that compressed the stream would hold each frame back until the compressor has enough. Most honour
# `no-transform`; nginx does not, but leaves a response alone that has a content encoding.
_HEADERS: Final = {
    "Cache-Control": "no-store, no-transform",
    "Content-Encoding": "identity",
    "X-Accel-Buffering": "no",
}


@get(
    "/jobs/{job_id:uuid}/stream",
    tags=["jobs"],
    operation_id="streamJob",
    media_type="text/event-stream",
    scope=Scope.JOBS_READ,
    job_token=True,
    is_stream=True,
)
async def stream_job_events(
    job_id: FromPath[UUID],
    current_user: NamedDependency[CurrentUser],
    services: NamedDependency[Services],
    after: Annotated[int, QueryParameter(ge=0, le=2**53 - 1)] = 0,
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", pattern="^[0-9]{1,18}$")
    ] = None,
) -> Response[Any]:
    """Every event past the cursor, and what else a watcher should know; ends when the job does.

    At the head of a final job the answer is 204, so that a browser stops reconnecting.
    """
    cursor = after if last_event_id is None else _parse_event_id(last_event_id)
    snapshot = await services.load_snapshot((current_user.reach, job_id))
    if snapshot is None:
        raise JobNotFoundError(job_id)
    job = snapshot.job
    if cursor > job.event_seq:
        raise CursorBeyondHeadError(cursor, job.event_seq)
    if job.state in FINAL_STATES and cursor == job.event_seq:
        return Response(None, status_code=204)
    stream = open_job_stream(services, current_user, job_id, cursor)
    lines = _lines(job_id, stream.frames())
    return Stream(
        _until_revoked(services, current_user, stream, lines),
        media_type="text/event-stream",
        headers=_HEADERS,
    )


def _parse_event_id(raw: str) -> int:
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 18):
        raise InvalidInputError("header.Last-Event-ID", "Last-Event-ID is a whole number from 0")
    return int(raw)


async def _until_revoked(
    services: Services, user: CurrentUser, stream: JobStream, lines: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield the lines, and end the stream when the user's credential is revoked."""
    with services.revocation_watch.watched(user, stream.sign_out):
        async with aclosing(lines) as open_lines:  # type: ignore[type-var]
            async for line in open_lines:
                yield line


async def _lines(job_id: UUID, frames: AsyncIterator[list[Frame]]) -> AsyncIterator[bytes]:
    async with aclosing(frames) as groups:  # type: ignore[type-var]
        try:
            async for group in groups:
                yield b"".join(_line(frame) for frame in group)
        except (*DATABASE_TROUBLE, SQLAlchemyError) as error:
            # The client reconnects by itself, with the id of its last event.
            if not is_outage(error):
                _log.warning("stream_broke", job_id=str(job_id), error=type(error).__name__)
        except JobNotFoundError:
            # It was deleted since the answer began; the client learns of it when it reconnects.
            _log.info("stream_broke", job_id=str(job_id), error="job_deleted")


def _line(frame: Frame) -> bytes:
    event_id = b"" if frame.seq is None else b"id: %d\n" % frame.seq
    data = frame.data
    if b"\n" in data or b"\r" in data:  # only outside of texts, from a release that kept them
        data = data.translate(_TO_ONE_LINE)
    return event_id + b"data: " + data + b"\n\n"
