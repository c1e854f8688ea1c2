"""WS /ws: streams all jobs of the caller, or of the user whom an admin names, that match a filter."""

from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency

from headrace.api.dependencies import Services
from headrace.api.live.frames import Cancel, Ping, Pong, Resume, framed
from headrace.api.live.overview_stream import OverviewStream
from headrace.api.live.socket_transport import BAD_REQUEST, NOT_FOUND, mark_accepted, refuse, serve_stream
from headrace.api.middleware.query_names import explain_unknown_names
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.overview.overview import OverviewFilter
from headrace.domain.jobs.states import JobState

_log = structlog.get_logger(__name__)

_MAX_NAME_LENGTH: Final = 64

# msgspec requires the field `type` only in a union, so the union has more members than `_on_message` accepts.
_decode: Final = msgspec.json.Decoder(Ping | Cancel | Resume).decode


@websocket("/ws", scope=Scope.JOBS_READ, query=("state", "pipeline", "tag", "owner", "batch"))
async def stream_jobs(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """Send the newest 500 jobs that match, then their changes, until the client leaves."""
    mark_accepted(socket)
    user: CurrentUser = socket.scope["user"]
    if (fault := explain_unknown_names(socket.query_params, socket.route_handler.opt)) is not None:
        await refuse(socket, BAD_REQUEST, fault, error="validation_failed")
        return
    filters = _parse_filters(dict(socket.query_params.items()))
    if isinstance(filters, str):
        await refuse(socket, BAD_REQUEST, filters, error="validation_failed")
        return
    owner_id = _parse_owner(socket.query_params.get("owner"), user)
    if owner_id is None:
        await refuse(socket, NOT_FOUND, "there is no such user")
        return
    stream = OverviewStream(owner_id, filters, services.hub.overviews)

    async def on_message(raw: bytes | str) -> None:
        if not isinstance(_decode(raw), Ping):
            raise msgspec.ValidationError("here only ping is understood")
        stream.answer(framed(Pong()))

    in_batches = socket.query_params.get("batch", "").lower() in ("true", "1")
    reason = "disconnected"
    try:
        with services.revocation_watch.watched(user, stream.sign_out):
            reason = await serve_stream(socket, stream, on_message, in_batches=in_batches)
    finally:
        _log.info("stream_closed", reason=reason, frames_sent=stream.frames_sent)


def _parse_owner(text: str | None, user: CurrentUser) -> UUID | None:
    """Return the owner whose jobs to stream, by default the caller; None if the caller may not see them."""
    if text is None:
        return user.id
    try:
        owner_id = UUID(text)
    except ValueError:
        return None
    return owner_id if owner_id == user.id or user.acts_as_admin else None


def _parse_filters(query: dict[str, str]) -> OverviewFilter | str:
    """Return the filters, or a sentence that says which one is invalid."""
    state = query.get("state")
    if state is not None and state not in list(JobState):
        return f"state is one of {', '.join(JobState)}"
    for name in ("pipeline", "tag"):
        if len(query.get(name, "")) > _MAX_NAME_LENGTH or "\0" in query.get(name, ""):
            return f"{name} has at most {_MAX_NAME_LENGTH} characters, and no NUL"
    return OverviewFilter(
        state=None if state is None else JobState(state),
        pipeline=query.get("pipeline"),
        tag=query.get("tag"),
    )
