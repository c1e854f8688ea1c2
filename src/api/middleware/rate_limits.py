"""Limits the requests per minute of an address and of a user, and the streams that a user holds open.

Redis counts requests for all processes. While it is away, reads pass, and each process counts writes and
sign-ins by itself. Streams are always counted per process.
"""

import time
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from headrace.adapters.rate_limiter import LocalLimiter, PermitResult, SharedLimiter, whole_seconds
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.api.middleware.quota_counters import QuotaCounters, held
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

# The key under which the scope holds the limits that apply, for the answer's headers.
APPLIED_LIMITS: Final = "headrace.counted"
_READ_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_MAX_HEADERS: Final = 100
# Health probes come often, all from one address, and must not fail because of other callers there.
_UNLIMITED_PATHS: Final = "/health/"
_SIGN_IN_PATHS: Final = ("/auth/login/", "/auth/callback/")


class RateLimitedError(HeadraceError):
    """Too many requests in too short a time. *policy* is `address`, `login` or `user`."""

    def __init__(self, policy: str, retry_seconds: int) -> None:
        super().__init__(f"too many requests of this {_SUBJECTS[policy]}; the next one in {retry_seconds} s")
        self.policy = policy
        self.retry_seconds = retry_seconds


class TooManyStreamsError(HeadraceError):
    """The user has the maximum number of streams open."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user has at most {limit} streams open at once")
        self.limit = limit


class TooManyHeadersError(HeadraceError):
    """The request has more headers than any client needs."""

    def __init__(self) -> None:
        super().__init__(f"a request has at most {_MAX_HEADERS} headers")


_SUBJECTS: Final = {"address": "address", "login": "address to sign in", "user": "user"}


class RateLimits:
    """Counts requests and streams against the limits of the settings. A limit of 0 is off."""

    def __init__(self, settings: Settings, redis: "Redis | None", proxies: Proxies) -> None:
        self._per_minute = {name: settings.per_minute(name) for name in ("address", "login", "user")}
        self._max_streams = settings.max_streams_per_user
        self.quotas = QuotaCounters(settings.quotas)
        self._has_redis = redis is not None
        self._shared = SharedLimiter(redis)
        self._local = LocalLimiter()
        self._proxies = proxies

    async def count_address(self, request: RequestInfo) -> None:
        """Count a request of its address before authentication, so that failed attempts count as well.

        Raises:
            RateLimitedError: the address has used up its limit.
            TooManyHeadersError: the request has more than 100 headers.
        """
        scope: Any = request.scope
        if len(scope["headers"]) > _MAX_HEADERS:
            raise TooManyHeadersError
        path = scope["path_template"]
        if path.startswith(_UNLIMITED_PATHS):
            return
        is_sign_in = path.startswith(_SIGN_IN_PATHS)
        for policy in ("login", "address") if is_sign_in else ("address",):
            if self._per_minute[policy]:
                await self._count(scope, policy, self._proxies.address_of(request), is_write=is_sign_in)

    async def count_user(self, request: RequestInfo, user: CurrentUser, *, is_write: bool = False) -> None:
        """Count a request of *user*. *is_write*: it is a message on a socket that changes something.

        Raises:
            RateLimitedError: the user has used up the limit.
            QuotaExceededError: the user has used up the quota of requests.
        """
        self.quotas.count_request(user.id)
        if self._per_minute["user"]:
            await self._count(request.scope, "user", str(user.id), is_write=is_write)

    def check_streams(self, user: CurrentUser) -> None:
        """Check that *user* may open another stream in this process.

        Raises:
            TooManyStreamsError: the user has the maximum open.
            QuotaExceededError: the user has used up the quota of streams.
        """
        self.quotas.check_streams(user.id)
        if self._max_streams and self.quotas.streams[user.id] >= self._max_streams:
            raise TooManyStreamsError(self._max_streams)

    def open_stream(self, user: CurrentUser) -> AbstractContextManager[None]:
        """Count a stream of *user* for the block."""
        return held(self.quotas.streams, user.id)

    async def _count(self, scope: Any, policy: str, subject: str, *, is_write: bool = False) -> None:
        limit = self._per_minute[policy]
        key = f"{policy}:{subject}"
        permit = await self._shared.acquire(key, limit)
        if permit is None:
            is_read = scope.get("method", "GET") in _READ_METHODS and not is_write
            if is_read and self._has_redis:
                return
            permit = self._local.acquire(key, limit, now=time.monotonic())
        if scope["type"] == "http":
            scope.setdefault(APPLIED_LIMITS, []).append((policy, limit, permit))
        if not permit.is_granted:
            if permit.is_fresh:
                _log.info("rate_limited", policy=policy, who=subject)
            raise RateLimitedError(policy, whole_seconds(permit.retry_seconds))


def rate_limit_headers(applied: list[tuple[str, int, PermitResult]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers-10 for the limits that applied."""
    policies = ", ".join(f'"{policy}";q={limit};w=60' for policy, limit, _ in applied)
    states = ", ".join(
        f'"{policy}";r={permit.left};t={whole_seconds(permit.full_seconds)}' for policy, _, permit in applied
    )
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]
