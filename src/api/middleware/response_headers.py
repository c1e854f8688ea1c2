"""Outermost middleware: adds security headers and a request id to every response, including 404s."""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.api.middleware.head_requests import as_get, with_head
from headrace.api.middleware.rate_limits import APPLIED_LIMITS, rate_limit_headers
from headrace.api.middleware.request_checks import allowed_methods
from headrace.api.path_prefix import PathPrefixes, prefix_of, relocate
from headrace.api.request_ids import request_id_of

Header = tuple[bytes, bytes]

_ALWAYS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # With `no-referrer` a form of our own page would come from the origin `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_API_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGE_POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    b" connect-src 'self'; media-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none';"
    b" form-action 'self'; frame-ancestors 'none'",
)
_NO_STORE: Final = (b"cache-control", b"no-store")
_VARY_ORIGIN: Final = (b"vary", b"Origin")
# Without includeSubDomains: subdomains may belong to other services.
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


class ResponseHeadersMiddleware:
    """Sets the request id, by default the caller's own, and the security headers that a handler did not set.

    The id is in the response and in every log line of the request.
    """

    def __init__(
        self,
        next_app: ASGIApp,
        proxies: Proxies,
        prefixes: PathPrefixes,
        *,
        on_response: Callable[[str, str | None, int, float], None],
        is_production: bool,
        differs_by_origin: bool,
    ) -> None:
        """*on_response* is called with method, route, status and seconds when a response starts."""
        self._next_app = next_app
        self._on_response = on_response
        self._proxies = proxies
        self._prefixes = prefixes
        self._is_production = is_production
        self._differs_by_origin = differs_by_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            scope, receive, send = as_get(scope, receive, send)
        self._prefixes.enter(scope)
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._report(scope, message["status"], time.perf_counter() - began)
                message["headers"] = self._headers(scope, request_id, list(message["headers"]))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            is_http = scope["type"] == ScopeType.HTTP
            await self._next_app(scope, receive, send_with_headers if is_http else send)

    def _report(self, scope: Any, status: int, seconds: float) -> None:
        self._on_response(scope["method"], scope.get("path_template"), status, seconds)

    def _headers(self, scope: Any, request_id: str, headers: list[Header]) -> list[Header]:
        if prefix_of(scope):
            headers = relocate(scope, headers)
        by_name = dict(headers)
        if b"allow" in by_name:
            allowed = allowed_methods(scope) if scope["method"] == "OPTIONS" else by_name[b"allow"]
            headers = [header for header in headers if header[0] != b"allow"]
            headers.append((b"allow", with_head(allowed)))
        is_page = by_name.get(b"content-type", b"").startswith(b"text/html")
        defaults = [*_ALWAYS, _PAGE_POLICY if is_page else _API_POLICY]
        if b"etag" not in by_name:
            defaults.append(_NO_STORE)
        if self._is_production and self._proxies.is_https(RequestInfo(scope)):
            defaults.append(_HTTPS_ONLY)
        if applied := scope.get(APPLIED_LIMITS):
            defaults += rate_limit_headers(applied)
        headers += [header for header in defaults if header[0] not in by_name]
        if self._differs_by_origin and not any(
            name == b"vary" and b"origin" in value.lower() for name, value in headers
        ):
            headers.append(_VARY_ORIGIN)
        headers.append((b"x-request-id", request_id.encode()))
        return headers
