"""What is refused before a handler sees it."""

from typing import Any, Final

import msgspec
from litestar import Request
from litestar.routes import HTTPRoute

from headrace.api.errors import InvalidInputError, UnsupportedMediaTypeError
from headrace.domain.json_values import has_nul, is_nested_deeper

_DEEPEST: Final = 64


async def refuse_early(request: Request[Any, Any, Any]) -> None:
    """Bodies are JSON, at most 64 deep; PostgreSQL cannot store the character NUL, so no text may hold it.

    Raises:
        InvalidInputError: one does, or is deeper.
        UnsupportedMediaTypeError: the body is no JSON.
    """
    if b"%00" in request.scope["query_string"] or "\0" in request.scope["path"]:
        raise InvalidInputError("query", "a value holds the character NUL", "nul_character")
    if "is_upload" in request.route_handler.opt or request.method in ("GET", "DELETE", "HEAD"):
        return
    raw = await request.body()
    if raw and request.content_type[0] not in ("application/json", "application/merge-patch+json"):
        # A page of a stranger can send a form or plain text without asking first, but not JSON.
        raise UnsupportedMediaTypeError("send the body as application/json")
    is_too_deep = is_nested_deeper(raw, _DEEPEST)
    if not is_too_deep and b"\\u0000" not in raw:
        return
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return  # not JSON: the handler's decoding says so, with its own words
    if is_too_deep:
        raise InvalidInputError("$", f"the body is nested deeper than {_DEEPEST} levels", "nested_too_deep")
    if has_nul(value):
        raise InvalidInputError("$", "a text holds the character NUL", "nul_character")


def allowed_methods(scope: Any) -> bytes:
    """Every method of the path, for `Allow`; Litestar's own answer knows only its first handlers'."""
    methods = {
        str(method)
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"]
        for method in route.methods
    }
    return ", ".join(sorted(methods)).encode()
