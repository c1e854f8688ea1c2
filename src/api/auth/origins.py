"""Refuses requests that a foreign page makes with its visitor's cookies (cross-site request forgery)."""

import hmac
from typing import Final
from urllib.parse import urlsplit

from litestar.config.cors import CORSConfig

from headrace.api.auth.request_info import RequestInfo
from headrace.api.auth.tokens import Tokens
from headrace.api.errors import OriginRefusedError
from headrace.domain.accounts.caller import CurrentUser
from headrace.settings import Settings

CSRF_HEADER: Final = "x-csrf-token"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_REQUEST_HEADERS: Final = (
    "authorization",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "if-range",
    "last-event-id",
    "range",
    "x-request-id",
    CSRF_HEADER,
)
_RESPONSE_HEADERS: Final = (
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
)


class Origins:
    """Checks the `Origin` header, which no page can forge, and a CSRF token, which no other page can read."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        own = () if settings.public_url is None else (_origin_of(settings.public_url),)
        self._allowed = frozenset(origin.casefold() for origin in (*settings.cors_origins, *own))
        self._tokens = tokens

    def check(self, request: RequestInfo, user: CurrentUser, *, is_stream: bool = False) -> None:
        """Check a request whose credential a browser adds by itself. Reads pass, except streams.

        Raises:
            OriginRefusedError: the page is foreign and not allowed, or the CSRF token is missing.
        """
        is_socket = request.method is None
        if request.method in _SAFE_METHODS and not is_stream:
            return
        self.check_page(request)
        if user.credential != "session" or request.method in _SAFE_METHODS:
            return
        if is_socket:
            if not request.header_values("origin"):
                raise OriginRefusedError("a socket with a cookie needs an Origin")
        elif not self._has_csrf_token(request, user):
            raise OriginRefusedError(f"send the value of the cookie headrace_csrf as {CSRF_HEADER}")

    def check_page(self, request: RequestInfo) -> None:
        """Check the `Origin`, which browsers send with every request that may change something.

        Raises:
            OriginRefusedError: the page is foreign and not allowed.
        """
        origin = request.header("origin")
        if request.header_values("origin") and not self._is_allowed(origin, request.header("host")):
            raise OriginRefusedError(f"the origin {origin[:100]} is not allowed here")

    def _is_allowed(self, origin: str, host: str) -> bool:
        if origin.casefold() in self._allowed:
            return True
        try:
            return bool(host) and urlsplit(origin).netloc.casefold() == host.casefold()
        except ValueError:
            return False

    def _has_csrf_token(self, request: RequestInfo, user: CurrentUser) -> bool:
        token = request.header(CSRF_HEADER)
        return user.credential_id is not None and hmac.compare_digest(
            token.encode(), self._tokens.csrf_token(user.credential_id).encode()
        )


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def cross_origin(settings: Settings) -> CORSConfig | None:
    """Return the CORS rules for pages of the allowed origins, with cookies; None if no origin is allowed."""
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=[origin.casefold() for origin in settings.cors_origins],
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=list(_REQUEST_HEADERS),
        allow_credentials=True,
        expose_headers=list(_RESPONSE_HEADERS),
    )
