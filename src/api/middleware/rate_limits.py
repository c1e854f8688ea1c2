"""How much one caller may ask: requests of an address and of a user, and streams that a user holds open.

Requests are counted in Redis, for all processes together. While it is away reads are let through, and writes
and sign-ins are counted in each process by itself. Streams are counted in each process.
"""

import time
from collections import Counter
from typing import Any, Final
from uuid import UUID

import structlog
from redis.asyncio import Redis

from headrace.adapters.rate_limiter import LocalLimiter, PermitResult, SharedLimiter, whole_seconds
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

# Under this name the scope holds what was counted.
COUNTED: Final = "headrace.counted"
_READS: Final = ("GET", "HEAD", "OPTIONS")
_MOST_HEADERS: Final = 100
# Probes come often, all from one address, and must not fail because somebody else asks too much.
_UNCOUNTED: Final = "/health/"
_SIGN_INS: Final = ("/auth/login/", "/auth/callback/")


class RateLimitedError(HeadraceError):
    """Too many requests in too short a time. *policy* is `address`, `login` or `user`."""

    def __init__(self, policy: str, retry_seconds: int) -> None:
        super().__init__(f"too many requests of this {_OF[policy]}; the next one in {retry_seconds} s")
        self.policy = policy
        self.retry_seconds = retry_seconds


class TooManyStreamsError(HeadraceError):
    """The user has as many streams open as one may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user has at most {limit} streams open at once")
        self.limit = limit


class TooManyHeadersError(HeadraceError):
    """A request with more headers than any client needs."""

    def __init__(self) -> None:
        super().__init__(f"a request has at most {_MOST_HEADERS} headers")


_OF: Final = {"address": "address", "login": "address to sign in", "user": "user"}


class RateLimits:
    """Counts callers. A limit of 0 is none."""

    def __init__(self, settings: Settings, redis: "Redis | None", proxies: Proxies) -> None:
        self._per_minute = {name: settings.per_minute(name) for name in ("address", "login", "user")}
        self._most_streams = settings.max_streams_per_user
        self._has_redis = redis is not None
        self._shared = SharedLimiter(redis)
        self._local = LocalLimiter()
        self._proxies = proxies
        self._streams: Counter[UUID] = Counter()

    async def count_address(self, asked: RequestInfo) -> None:
        """Count a request before it is known who asks: one that fails to prove it costs as much.

        Raises:
            RateLimitedError: the address has asked too often.
            TooManyHeadersError: the request has too many.
        """
        scope: Any = asked.scope
        if len(scope["headers"]) > _MOST_HEADERS:
            raise TooManyHeadersError
        path = scope["path_template"]
        if path.startswith(_UNCOUNTED):
            return
        is_sign_in = path.startswith(_SIGN_INS)
        for policy in ("login", "address") if is_sign_in else ("address",):
            if self._per_minute[policy]:
                await self._count(scope, policy, self._proxies.address_of(asked), is_write=is_sign_in)

    async def count_user(self, asked: RequestInfo, user: CurrentUser, *, is_write: bool = False) -> None:
        """Count a request of *user*, whatever proves it; *is_write*: a socket's word that changes something.

        Raises:
            RateLimitedError: the user has asked too often.
        """
        if self._per_minute["user"]:
            await self._count(asked.scope, "user", str(user.id), is_write=is_write)

    def check_streams(self, user: CurrentUser) -> None:
        """See whether *user* may open another stream.

        Raises:
            TooManyStreamsError: not in this process.
        """
        if self._most_streams and self._streams[user.id] >= self._most_streams:
            raise TooManyStreamsError(self._most_streams)

    def stream_opened(self, user: CurrentUser) -> None:
        self._streams[user.id] += 1

    def stream_closed(self, user: CurrentUser) -> None:
        self._streams[user.id] -= 1
        if not self._streams[user.id]:
            del self._streams[user.id]

    async def _count(self, scope: Any, policy: str, who: str, *, is_write: bool = False) -> None:
        limit = self._per_minute[policy]
        key = f"{policy}:{who}"
        taken = await self._shared.acquire(key, limit)
        if taken is None:
            is_read = scope.get("method", "GET") in _READS and not is_write
            if is_read and self._has_redis:
                return
            taken = self._local.acquire(key, limit, now=time.monotonic())
        if scope["type"] == "http":
            scope.setdefault(COUNTED, []).append((policy, limit, taken))
        if not taken.is_granted:
            if taken.is_fresh:
                _log.info("rate_limited", policy=policy, who=who)
            raise RateLimitedError(policy, whole_seconds(taken.retry_seconds))


def rate_limit_headers(counted: list[tuple[str, int, PermitResult]]) -> list[tuple[bytes, bytes]]:
    """What was counted, as draft-ietf-httpapi-ratelimit-headers-10 writes it."""
    policies = ", ".join(f'"{policy}";q={limit};w=60' for policy, limit, _ in counted)
    states = ", ".join(
        f'"{policy}";r={taken.left};t={whole_seconds(taken.full_seconds)}' for policy, _, taken in counted
    )
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]
