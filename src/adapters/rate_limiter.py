"""Rate limiters: one whose buckets are in Redis and shared by all processes, and one local to this process.

A bucket holds the permits of a minute and refills evenly (the generic cell rate algorithm: only the time at
which it is full again is stored). The callers decide what is limited, and what to do without Redis.
"""

import asyncio
import math
import time
from collections import OrderedDict
from typing import Any, Final

import structlog
from msgspec import Struct, field
from redis.asyncio import Redis

from headrace.adapters.redis_client import REDIS_ERRORS, checked_reply, report_failure

_log = structlog.get_logger(__name__)

_MINUTE_SECONDS: Final = 60.0
_MAX_KEYS: Final = 10_000
# A busy process prefetches permits: at most 1 % of the limit, which refills in 0.6 s, and an eighth of its
# recent use. Unused permits lapse.
_LIMIT_TO_BATCH: Final = 100
_USED_TO_BATCH: Final = 8
_BATCH_SECONDS: Final = 2.0
_MAX_REFUSAL_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0
_PREFIX: Final = "headrace:limit:"

# Takes up to ARGV[3] permits in one round trip, and returns when the bucket is full. Times are microseconds.
# A value that no bucket can have counts as a full bucket: others write to Redis, or its clock was set back.
_ACQUIRE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local gap, all, requested = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
if not (full_at > now and full_at <= now + all * gap + 1000000) then full_at = now end
local free = math.floor((all * gap - (full_at - now)) / gap + 0.001)
local taken = math.max(math.min(requested, free), 0)
if taken > 0 then
    full_at = full_at + taken * gap
    redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
end
return {taken, math.max(free - taken, 0), full_at - now}
"""


class PermitResult(Struct, frozen=True):
    """The answer to a request for a permit.

    *left* permits are still free. The next one is free after *retry_seconds*, all are after *full_seconds*.
    *is_fresh*: the answer comes from the bucket itself, not from a cached batch.
    """

    is_granted: bool
    left: int
    retry_seconds: float
    full_seconds: float
    is_fresh: bool = True


class LocalLimiter:
    """Buckets of this process, for the 10,000 most recent keys. An evicted key starts with a full bucket."""

    def __init__(self, window_seconds: float = _MINUTE_SECONDS) -> None:
        """A bucket holds the permits of *window_seconds*."""
        self._window = window_seconds
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def acquire(self, key: str, permits: int, *, now: float) -> PermitResult:
        """Take one of the *permits* of a window. *now* comes from any monotonic clock, in seconds."""
        gap = self._window / permits
        full_at = max(self._full_at.pop(key, now), now)
        free = int((self._window - (full_at - now)) / gap + 0.001)
        if free > 0:
            full_at += gap
        self._full_at[key] = full_at
        _trim(self._full_at)
        return _result(gap, free > 0, max(free - 1, 0), full_at - now, window=self._window)

    def used(self, key: str, permits: int, *, now: float) -> int:
        """Return how many of the *permits* of a window are taken."""
        missing = max(self._full_at.get(key, now) - now, 0.0)
        return min(math.ceil(missing / (self._window / permits) - 0.001), permits)


class _Batch(Struct):
    """Prefetched permits of one key: *left* in this process and *free* more in Redis.

    *used* counts the permits used since the last batch lapsed.
    """

    used: int = 0
    left: int = 0
    free: int = 0
    until: float = 0.0
    full_at: float = 0.0
    is_refused: bool = False
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def acquire(self, gap: float, now: float) -> PermitResult | None:
        """Return a permit or a refusal from this batch; None if the batch is used up or has lapsed."""
        if now >= self.until:
            return None
        if self.left > 0:
            self.left -= 1
            self.used += 1
            return _result(gap, True, self.left + self.free, self.full_at - now, is_fresh=False)
        return _result(gap, False, 0, self.full_at - now, is_fresh=False) if self.is_refused else None

    def next_size(self, per_minute: int, now: float) -> int:
        """Return how many permits to fetch: one per waiting caller, or more if many were used."""
        if now >= self.until:
            self.used = 0
        return max(min(self.used // _USED_TO_BATCH, per_minute // _LIMIT_TO_BATCH), self.waiting, 1)

    def refill(self, gap: float, reply: tuple[int, int, int], now: float) -> PermitResult:
        """Store the permits that Redis has granted, and return one of them or the refusal."""
        granted, self.free, full_micros = reply
        self.is_refused = not granted
        self.used += min(granted, 1)
        self.full_at = now + full_micros / 1e6
        self.left = max(granted - 1, 0)
        lifetime = (
            _BATCH_SECONDS if granted else min(_MAX_REFUSAL_SECONDS, _retry_seconds(gap, full_micros / 1e6))
        )
        self.until = now + lifetime
        return _result(gap, granted > 0, self.left + self.free, full_micros / 1e6)


class SharedLimiter:
    """Buckets in Redis, shared by all processes."""

    def __init__(self, redis: "Redis | None") -> None:
        """Without Redis (None) every answer is None."""
        self._redis = redis
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        self._away_until = 0.0

    async def acquire(self, key: str, per_minute: int) -> PermitResult | None:
        """Take a permit; None while Redis is away. A Redis that does not answer is tried once a second."""
        gap = _MINUTE_SECONDS / per_minute
        batch = self._batch(key)
        if (result := batch.acquire(gap, time.monotonic())) is not None:
            return result
        batch.waiting += 1
        try:
            # One fetch at a time: concurrent fetches would take several batches and waste most permits.
            async with batch.lock:
                if (result := batch.acquire(gap, time.monotonic())) is not None:
                    return result
                return await self._fetch(batch, key, gap, per_minute)
        finally:
            batch.waiting -= 1

    def _batch(self, key: str) -> _Batch:
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = _Batch()
        self._batches.move_to_end(key)
        _trim(self._batches)
        return batch

    async def _fetch(self, batch: _Batch, key: str, gap: float, per_minute: int) -> PermitResult | None:
        now = time.monotonic()
        if self._redis is None or now < self._away_until:
            return None
        size = batch.next_size(per_minute, now)
        arguments: tuple[Any, ...] = (1, _PREFIX + key, round(gap * 1e6), per_minute, size)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reply = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                    "EVAL", _ACQUIRE, *arguments
                )
            with checked_reply():
                return batch.refill(gap, _parse(reply, size, per_minute), time.monotonic())
        except REDIS_ERRORS as error:
            self._away_until = time.monotonic() + _RETRY_SECONDS
            if not isinstance(error, TimeoutError):  # half a second is no outage
                report_failure(self._redis, error)
            return None


def _parse(reply: Any, size: int, per_minute: int) -> tuple[int, int, int]:
    """Return the permits taken and left, and the microseconds until the bucket is full.

    Raises:
        ValueError, TypeError: *reply* is nothing that the script returns.
    """
    granted, free, full_micros = map(int, reply)
    is_possible = granted <= size and granted + free <= per_minute and full_micros <= 2e6 * _MINUTE_SECONDS
    if min(granted, free, full_micros) < 0 or not is_possible:
        raise ValueError(f"no permits: {reply!r}")
    return granted, free, full_micros


def _result(
    gap: float,
    is_granted: bool,
    left: int,
    full_seconds: float,
    *,
    is_fresh: bool = True,
    window: float = _MINUTE_SECONDS,
) -> PermitResult:
    retry = 0.0 if is_granted else _retry_seconds(gap, full_seconds, window)
    return PermitResult(is_granted, left, retry, max(full_seconds, 0.0), is_fresh)


def _retry_seconds(gap: float, full_seconds: float, window: float = _MINUTE_SECONDS) -> float:
    """Return the seconds until one permit is free: all but one are still missing then."""
    return max(full_seconds - (window - gap), 0.0)


def _trim(entries: "OrderedDict[str, Any]") -> None:
    while len(entries) > _MAX_KEYS:
        entries.popitem(last=False)


def whole_seconds(seconds: float) -> int:
    """Round up for a header, to at least 1, so that clients never retry too early."""
    return max(math.ceil(seconds), 1)
