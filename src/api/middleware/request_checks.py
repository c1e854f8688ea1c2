"""Checks of each request before its handler reads it: its query, its media type, NUL in the address."""

from typing import Any, Final

from litestar import Request
from litestar.routes import HTTPRoute

from headrace.api.errors import InvalidInputError, QueryTooLargeError, UnsupportedMediaTypeError
from headrace.api.middleware.query_names import check_query_names

_MAX_QUERY_BYTES: Final = 8 * 1024
_MAX_QUERY_PARAMETERS: Final = 100


def check_query(scope: Any) -> None:
    """Check that the query of a request is small, before anything parses it.

    Raises:
        QueryTooLargeError: it has too many bytes or parameters.
    """
    query: bytes = scope["query_string"]
    if len(query) > _MAX_QUERY_BYTES or query.count(b"&") >= _MAX_QUERY_PARAMETERS:
        raise QueryTooLargeError(
            f"a query has at most {_MAX_QUERY_BYTES} bytes and {_MAX_QUERY_PARAMETERS} parameters"
        )


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Refuse bodies that are not JSON, unknown parameters, and NUL, which PostgreSQL cannot store.

    `BodyRequest` checks the JSON.

    Raises:
        InvalidInputError: the path or a parameter holds NUL.
        UnknownParametersError: the route does not have all parameters of the query.
        BodyTooLargeError: the body is larger than the route allows.
        UnsupportedMediaTypeError: the body is not JSON.
    """
    if b"%00" in request.scope["query_string"] or "\0" in request.scope["path"]:
        raise InvalidInputError("query", "a value holds the character NUL", "nul_character")
    check_query_names(request)
    if "is_upload" in request.route_handler.opt or request.method in ("GET", "DELETE", "HEAD"):
        return
    raw = await request.body()
    if raw and request.content_type[0] not in ("application/json", "application/merge-patch+json"):
        # Browsers let a foreign page send a form or plain text without a preflight request, but not JSON.
        raise UnsupportedMediaTypeError("send the body as application/json")


def allowed_methods(scope: Any) -> bytes:
    """Return the `Allow` header of the path. Litestar's own names only the methods of the first handler."""
    methods = {
        str(method)
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"]
        for method in route.methods
    }
    return ", ".join(sorted(methods)).encode()
