"""What stands before the application: every answer goes out through here, that of an unknown path, too."""

from typing import Any, Final

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.api.middleware.rate_limits import COUNTED, rate_limit_headers
from headrace.api.middleware.request_checks import allowed_methods
from headrace.api.request_ids import request_id_of

Header = tuple[bytes, bytes]

_ALWAYS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not `no-referrer`: a form of our own page would then come from the origin `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_NO_PAGE: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGE: Final = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    b" connect-src 'self'; media-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none';"
    b" form-action 'self'; frame-ancestors 'none'",
)
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_BY_ORIGIN: Final = (b"vary", b"Origin")
# Of this name alone: others below it need not be ours.
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


class ResponseHeadersMiddleware:
    """Gives each request an id (the caller's own, where it is a sane one), in the answer and in the logs.

    And each answer the headers that keep browsers careful; a handler that says otherwise is heard.
    """

    def __init__(
        self, next_app: ASGIApp, proxies: Proxies, *, is_production: bool, differs_by_origin: bool
    ) -> None:
        self._next_app = next_app
        self._proxies = proxies
        self._is_production = is_production
        self._differs_by_origin = differs_by_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._headers(scope, request_id, list(message["headers"]))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            is_http = scope["type"] == ScopeType.HTTP
            await self._next_app(scope, receive, send_with_headers if is_http else send)

    def _headers(self, scope: Any, request_id: str, given: list[Header]) -> list[Header]:
        named = dict(given)
        if scope["method"] == "OPTIONS" and b"allow" in named:
            given = [
                *(header for header in given if header[0] != b"allow"),
                (b"allow", allowed_methods(scope)),
            ]
        wanted = [*_ALWAYS, _PAGE if named.get(b"content-type", b"").startswith(b"text/html") else _NO_PAGE]
        if b"etag" not in named:
            wanted.append(_NOT_KEPT)
        if self._differs_by_origin:
            wanted.append(_BY_ORIGIN)
        if self._is_production and self._proxies.is_https(RequestInfo(scope)):
            wanted.append(_HTTPS_ONLY)
        if counted := scope.get(COUNTED):
            wanted += rate_limit_headers(counted)
        given += [header for header in wanted if header[0] not in named]
        given.append((b"x-request-id", request_id.encode()))
        return given
