"""Buckets of permits: in Redis, where all processes share them, and in this process alone.

A bucket holds a minute's worth and fills evenly (the generic cell rate algorithm: what is kept is the moment
at which it is full again). Who is limited, and what happens without Redis, is not decided here.
"""

import asyncio
import math
import time
from collections import OrderedDict
from typing import Any, Final

import structlog
from msgspec import Struct, field
from redis.asyncio import Redis

from headrace.adapters.redis_client import REDIS_ERRORS

_log = structlog.get_logger(__name__)

_MINUTE: Final = 60.0
_MOST_KEYS: Final = 10_000
# A process that is busy with a key takes its permits by the dozen, and gives none back: no more than a
# hundredth of the limit (it comes back in 0.6 s), and an eighth of what it has used without a pause.
_PARTS: Final = 100
_USED_TO_TAKEN: Final = 8
_KEPT_SECONDS: Final = 2.0
_REFUSED_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
_PREFIX: Final = "headrace:limit:"

# One round trip: up to so many permits, or how long it takes until there is one. Times are microseconds.
_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local gap, all, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local free = math.floor((all * gap - (full_at - now)) / gap + 0.001)
local taken = math.max(math.min(wanted, free), 0)
if taken > 0 then
    full_at = full_at + taken * gap
    redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
end
return {taken, math.max(free - taken, 0), full_at - now}
"""


class PermitResult(Struct, frozen=True):
    """What came of asking for a permit.

    *left* are still free; *retry_seconds* pass until there is one again, *full_seconds* until all are there.
    *is_fresh*: the bucket itself was asked.
    """

    is_granted: bool
    left: int
    retry_seconds: float
    full_seconds: float
    is_fresh: bool = True


class LocalLimiter:
    """Buckets of this process. It knows the 10,000 keys that asked last; whoever is forgotten starts anew."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def acquire(self, key: str, per_minute: int, *, now: float) -> PermitResult:
        """Take a permit; *now* is any clock's that does not go back."""
        gap = _MINUTE / per_minute
        full_at = max(self._full_at.pop(key, now), now)
        free = int((_MINUTE - (full_at - now)) / gap + 0.001)
        if free > 0:
            full_at += gap
        self._full_at[key] = full_at
        _trim(self._full_at)
        return _taken(gap, free > 0, max(free - 1, 0), full_at - now)


class _Batch(Struct):
    """Permits that this process holds of a key: *left*, and *free* more in Redis.

    *used* were used since the last pause.
    """

    used: int = 0
    left: int = 0
    free: int = 0
    until: float = 0.0
    full_at: float = 0.0
    is_refused: bool = False
    waiting: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def acquire(self, gap: float, now: float) -> PermitResult | None:
        """A permit, or the refusal, as far as it is known here."""
        if now >= self.until:
            return None
        if self.left > 0:
            self.left -= 1
            self.used += 1
            return _taken(gap, True, self.left + self.free, self.full_at - now, is_fresh=False)
        return _taken(gap, False, 0, self.full_at - now, is_fresh=False) if self.is_refused else None

    def next_size(self, per_minute: int, now: float) -> int:
        """How many to take: one for each that waits, or more where many were used."""
        if now >= self.until:
            self.used = 0
        return max(min(self.used // _USED_TO_TAKEN, per_minute // _PARTS), self.waiting, 1)

    def keep(self, gap: float, answer: list[int], now: float) -> PermitResult:
        """Hold what Redis gave, less the permit that is returned."""
        taken, self.free, full_micros = answer
        self.is_refused = not taken
        self.used += min(taken, 1)
        self.full_at = now + full_micros / 1e6
        self.left = max(taken - 1, 0)
        wait = _KEPT_SECONDS if taken else min(_REFUSED_SECONDS, _retry_seconds(gap, full_micros / 1e6))
        self.until = now + wait
        return _taken(gap, taken > 0, self.left + self.free, full_micros / 1e6)


class SharedLimiter:
    """Buckets in Redis."""

    def __init__(self, redis: "Redis | None") -> None:
        """None: no Redis is configured, and nothing can be said."""
        self._redis = redis
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        self._away_until = 0.0

    async def acquire(self, key: str, per_minute: int) -> PermitResult | None:
        """Take a permit; None while Redis is away. One that does not answer is waited for once a second."""
        gap = _MINUTE / per_minute
        batch = self._batch(key)
        if (taken := batch.acquire(gap, time.monotonic())) is not None:
            return taken
        batch.waiting += 1
        try:
            # Each by itself would take a batch, and most of it would be left over.
            async with batch.asking:
                if (taken := batch.acquire(gap, time.monotonic())) is not None:
                    return taken
                return await self._ask(batch, key, gap, per_minute)
        finally:
            batch.waiting -= 1

    def _batch(self, key: str) -> _Batch:
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = _Batch()
        self._batches.move_to_end(key)
        _trim(self._batches)
        return batch

    async def _ask(self, batch: _Batch, key: str, gap: float, per_minute: int) -> PermitResult | None:
        now = time.monotonic()
        if self._redis is None or now < self._away_until:
            return None
        size = batch.next_size(per_minute, now)
        arguments: tuple[Any, ...] = (1, _PREFIX + key, round(gap * 1e6), per_minute, size)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer: list[int] = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                    "EVAL", _TAKE, *arguments
                )
        except REDIS_ERRORS as error:
            self._away_until = time.monotonic() + _PAUSE_SECONDS
            _log.warning("limits_not_shared", error=type(error).__name__)
            return None
        return batch.keep(gap, answer, time.monotonic())


def _taken(
    gap: float, is_granted: bool, left: int, full_seconds: float, *, is_fresh: bool = True
) -> PermitResult:
    retry = 0.0 if is_granted else _retry_seconds(gap, full_seconds)
    return PermitResult(is_granted, left, retry, max(full_seconds, 0.0), is_fresh)


def _retry_seconds(gap: float, full_seconds: float) -> float:
    """Until one permit is there: all but one of them are on their way then."""
    return max(full_seconds - (_MINUTE - gap), 0.0)


def _trim(known: "OrderedDict[str, Any]") -> None:
    while len(known) > _MOST_KEYS:
        known.popitem(last=False)


def whole_seconds(seconds: float) -> int:
    """As a header says it: never too early."""
    return max(math.ceil(seconds), 1)
