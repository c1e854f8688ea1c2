"""What is refused before a handler sees it, and what is said on every answer."""

import re
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import InvalidInputError
from domain.json_values import has_nul

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


async def refuse_nul(request: Request[Any, Any, Any]) -> None:
    """PostgreSQL cannot store the character NUL, so no text of a request may hold it.

    Raises:
        InvalidInputError: one does.
    """
    if b"%00" in request.scope["query_string"] or "\0" in request.scope["path"]:
        raise InvalidInputError("query", "a value holds the character NUL", "nul_character")
    if request.content_type[0] == "multipart/form-data" or request.method in ("GET", "DELETE", "HEAD"):
        return
    raw = await request.body()
    if b"\\u0000" not in raw:
        return
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return  # not JSON: the handler's decoding says so, with its own words
    if has_nul(value):
        raise InvalidInputError("$", "a text holds the character NUL", "nul_character")


class RequestId(ASGIMiddleware):
    """Gives each request an id (the caller's own, where it is a sane one), in the answer and in the logs."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await next_app(scope, receive, send_with_id)
