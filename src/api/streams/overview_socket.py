"""WS /ws: all jobs that the caller may see, as far as they match."""

from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency

from headrace.api.dependencies import Services
from headrace.api.live.frames import Cancel, Ping, Pong, Resume, framed
from headrace.api.live.overview_stream import OverviewSession
from headrace.api.live.socket_transport import BAD_REQUEST, NOT_FOUND, as_accepted, refuse, serve_stream
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.jobs.overview.overview import OverviewFilter
from headrace.domain.jobs.states import JobState

_log = structlog.get_logger(__name__)

_LONGEST_NAME: Final = 64

# Of one struct alone msgspec would not demand the `type`.
_decode: Final = msgspec.json.Decoder(Ping | Cancel | Resume).decode


@websocket("/ws", scope=Scope.JOBS_READ)
async def stream_jobs(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """Send the newest 500 that match, then every change of one that does, until the client leaves.

    They are the caller's own, or, for an admin who says so, those of the user *owner*.
    """
    as_accepted(socket)
    user: CurrentUser = socket.scope["user"]
    wanted = _wanted(dict(socket.query_params.items()))
    if isinstance(wanted, str):
        await refuse(socket, BAD_REQUEST, wanted, error="validation_failed")
        return
    owner_id = _owner(socket.query_params.get("owner"), user)
    if owner_id is None:
        await refuse(socket, NOT_FOUND, "there is no such user")
        return
    session = OverviewSession(owner_id, wanted, services.hub.overviews)

    async def obey(raw: bytes | str) -> None:
        if not isinstance(_decode(raw), Ping):
            raise msgspec.ValidationError("here only ping is understood")
        session.answer(framed(Pong()))

    in_batches = socket.query_params.get("batch", "").lower() in ("true", "1")
    reason = "disconnected"
    try:
        with services.standing.held(user, session.sign_out):
            reason = await serve_stream(socket, session, obey, in_batches=in_batches)
    finally:
        _log.info("stream_closed", reason=reason, frames_sent=session.frames_sent)


def _owner(text: str | None, user: CurrentUser) -> UUID | None:
    """Whose jobs are meant; None where the caller may not see them."""
    if text is None:
        return user.id
    try:
        owner_id = UUID(text)
    except ValueError:
        return None
    return owner_id if owner_id == user.id or user.acts_as_admin else None


def _wanted(query: dict[str, str]) -> OverviewFilter | str:
    """The filter, or what is wrong with it."""
    state = query.get("state")
    if state is not None and state not in list(JobState):
        return f"state is one of {', '.join(JobState)}"
    for name in ("pipeline", "tag"):
        if len(query.get(name, "")) > _LONGEST_NAME or "\0" in query.get(name, ""):
            return f"{name} has at most {_LONGEST_NAME} characters, and no NUL"
    return OverviewFilter(
        state=None if state is None else JobState(state),
        pipeline=query.get("pipeline"),
        tag=query.get("tag"),
    )
