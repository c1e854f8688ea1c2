"""Checks of each request before its handler reads it: its media type, depth and characters."""

from typing import Any

import msgspec
from litestar import Request
from litestar.routes import HTTPRoute

from headrace.api.errors import InvalidInputError, UnsupportedMediaTypeError
from headrace.domain.json_limits import ESCAPED_NUL, MAX_JSON_DEPTH, has_nul, is_nested_deeper


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Refuse bodies that are not JSON or are nested too deeply, and NUL, which PostgreSQL cannot store.

    Raises:
        InvalidInputError: the body is nested more than 64 levels deep, or a value holds NUL.
        UnsupportedMediaTypeError: the body is not JSON.
    """
    if b"%00" in request.scope["query_string"] or "\0" in request.scope["path"]:
        raise InvalidInputError("query", "a value holds the character NUL", "nul_character")
    if "is_upload" in request.route_handler.opt or request.method in ("GET", "DELETE", "HEAD"):
        return
    raw = await request.body()
    if raw and request.content_type[0] not in ("application/json", "application/merge-patch+json"):
        # Browsers let a foreign page send a form or plain text without a preflight request, but not JSON.
        raise UnsupportedMediaTypeError("send the body as application/json")
    is_too_deep = is_nested_deeper(raw, MAX_JSON_DEPTH)
    if not is_too_deep and ESCAPED_NUL not in raw:
        return
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return  # the handler decodes the body again and explains the error
    if is_too_deep:
        raise InvalidInputError(
            "$", f"the body is nested deeper than {MAX_JSON_DEPTH} levels", "nested_too_deep"
        )
    if has_nul(value):
        raise InvalidInputError("$", "a text holds the character NUL", "nul_character")


def allowed_methods(scope: Any) -> bytes:
    """Return the `Allow` header of the path. Litestar's own names only the methods of the first handler."""
    methods = {
        str(method)
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"]
        for method in route.methods
    }
    return ", ".join(sorted(methods)).encode()
