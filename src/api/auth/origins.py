"""Whether a browser asks for the service's own page or a stranger's: both can send what a cookie proves."""

import hmac
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from litestar.config.cors import CORSConfig

from headrace.api.auth.request_info import RequestInfo
from headrace.api.auth.tokens import Tokens
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

CSRF_HEADER: Final = "x-csrf-token"
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


_ASKED_WITH: Final = (
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
_TOLD: Final = (
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
)


class OriginRefusedError(HeadraceError):
    """A page of somebody else's asks in the name of its visitor."""


class Origins:
    """Judges by the `Origin` header, which no page can forge, and by a token that no other page can read."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        ours = () if settings.public_url is None else (settings.public_url.rstrip("/"),)
        self._allowed = frozenset(origin.casefold() for origin in (*settings.cors_origins, *ours))
        self._is_local_only = settings.auth == "local" and not settings.allow_remote
        self._tokens = tokens

    def judge_host(self, asked: RequestInfo) -> None:
        """In local mode a stranger's domain must not lead here, as DNS rebinding has it do.

        Raises:
            OriginRefusedError: the service is asked under a domain's name.
        """
        if self._is_local_only and _is_domain(asked.header("host")):
            raise OriginRefusedError("in local mode the service answers to this machine's names only")

    def judge(self, asked: RequestInfo, user: CurrentUser, *, is_stream: bool = False) -> None:
        """Judge a request whose proof a browser adds by itself; what only reads, unless it *is_stream*.

        Raises:
            OriginRefusedError: it comes from a page that is not the service's, nor allowed.
        """
        is_socket = asked.method is None
        if asked.method in _SAFE and not is_stream:
            return
        self.judge_page(asked)
        if user.credential != "session" or asked.method in _SAFE:
            return
        if is_socket:
            if not asked.every("origin"):
                raise OriginRefusedError("a socket with a cookie needs an Origin")
        elif not self._has_csrf_token(asked, user):
            raise OriginRefusedError(f"send the value of the cookie headrace_csrf as {CSRF_HEADER}")

    def judge_page(self, asked: RequestInfo) -> None:
        """Judge the page that a request comes from: browsers always name it when something may change.

        Raises:
            OriginRefusedError: it is not the service's, nor allowed.
        """
        origin = asked.header("origin")
        if asked.every("origin") and not self._is_ours(origin, asked.header("host")):
            raise OriginRefusedError(f"the origin {origin[:100]} is not allowed here")

    def _is_ours(self, origin: str, host: str) -> bool:
        if origin.casefold() in self._allowed:
            return True
        try:
            return bool(host) and urlsplit(origin).netloc.casefold() == host.casefold()
        except ValueError:
            return False

    def _has_csrf_token(self, asked: RequestInfo, user: CurrentUser) -> bool:
        given = asked.header(CSRF_HEADER)
        return user.credential_id is not None and hmac.compare_digest(
            given.encode(), self._tokens.csrf(user.credential_id).encode()
        )


def _is_domain(header: str) -> bool:
    """Whether a `Host` is a name that somebody can register, and no address."""
    host = header.casefold().rpartition(":")[0] if not header.endswith("]") else header
    host = (host or header).rstrip(".")
    if host.endswith(".localhost"):
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "." in host
    return False


def cross_origin(settings: Settings) -> CORSConfig | None:
    """What pages of the allowed origins may do, with their visitors' cookies; None where there are none."""
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=[origin.casefold() for origin in settings.cors_origins],
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=list(_ASKED_WITH),
        allow_credentials=True,
        expose_headers=list(_TOLD),
    )
