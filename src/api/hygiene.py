"""What is refused before a handler sees it, and what is said on every answer."""

from typing import Any

import msgspec
import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import InvalidInputError, UnsupportedMediaTypeError, request_id_of
from domain.json_values import has_nul


async def refuse_early(request: Request[Any, Any, Any]) -> None:
    """Bodies are JSON; and PostgreSQL cannot store the character NUL, so no text may hold it.

    Raises:
        InvalidInputError: one does.
        UnsupportedMediaTypeError: the body is no JSON.
    """
    if b"%00" in request.scope["query_string"] or "\0" in request.scope["path"]:
        raise InvalidInputError("query", "a value holds the character NUL", "nul_character")
    if request.content_type[0] == "multipart/form-data" or request.method in ("GET", "DELETE", "HEAD"):
        return
    raw = await request.body()
    if raw and request.content_type[0] not in ("application/json", "application/merge-patch+json"):
        # A page of a stranger can send a form or plain text without asking first, but not JSON.
        raise UnsupportedMediaTypeError("send the body as application/json")
    if b"\\u0000" not in raw:
        return
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return  # not JSON: the handler's decoding says so, with its own words
    if has_nul(value):
        raise InvalidInputError("$", "a text holds the character NUL", "nul_character")


class RequestId(ASGIMiddleware):
    """Gives each request an id (the caller's own, where it is a sane one), in the answer and in the logs."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        request_id = request_id_of(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await next_app(scope, receive, send_with_id)
