"""Rings the workers: a ring is an arq job that says "this queue has work".

A lost ring delays a job by a second at most.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job

from headrace.adapters.redis_client import REDIS_ERRORS, checked_reply, report_failure

_log = structlog.get_logger(__name__)

FUNCTION: Final = "work"
_MAX_WAITING: Final = 1_000
_EXPIRY_MS: Final = 60_000
_QUEUE_PREFIX: Final = "arq:queue:"
# After this many rings in a row without a job, a worker takes 20 a second.
_MAX_IN_VAIN: Final = 10
_IN_VAIN_SECONDS: Final = 0.05

# Adds rings in one round trip, up to the maximum that may wait in the queue.
_RING: Final = """
local missing = math.min(tonumber(ARGV[1]), tonumber(ARGV[2]) - redis.call('ZCARD', KEYS[1]))
for ring = 1, missing do
    local id = ARGV[3] .. ring
    redis.call('SET', ARGV[4] .. id, ARGV[5], 'PX', ARGV[6])
    redis.call('ZADD', KEYS[1], ARGV[7], id)
end
return missing
"""

serialize: Final = msgspec.msgpack.encode


def deserialize(raw: bytes) -> dict[str, Any]:
    return msgspec.msgpack.decode(raw, type=dict[str, Any])


def arq_queue(queue: str) -> str:
    """Return the Redis key of a queue's rings."""
    return _QUEUE_PREFIX + queue


class Ring(msgspec.Struct, frozen=True):
    """A ring taken from Redis: the key of its queue, and its member name in it, which may be any bytes."""

    key: bytes
    name: bytes


class RingPace:
    """Slows a worker down that is rung for nothing, by rings that are left over or that others have forged.

    Its claims cost PostgreSQL as much as those that find jobs.
    """

    def __init__(self) -> None:
        self._is_rung = False
        self._in_vain = 0

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next ring is taken."""
        return _IN_VAIN_SECONDS if self._in_vain >= _MAX_IN_VAIN else 0.0

    def on_ring(self) -> None:
        self._is_rung = True

    def on_claim(self, jobs: int) -> bool:
        """Record that a claim has found that many *jobs*; return whether a ring had called for it."""
        was_rung = self._is_rung
        self._in_vain = 0 if jobs else self._in_vain + was_rung
        self._is_rung = False
        return was_rung


class Doorbell:
    """Sends rings in the background, so that a submission never waits for Redis. `run` is its only task."""

    def __init__(self, redis: ArqRedis | None, on_ring: Callable[[str, int], None] | None = None) -> None:
        """Without Redis (None) nothing is sent, and workers find jobs by polling PostgreSQL.

        *on_ring* is called with `sent` or `failed` and the number of jobs that were rung for.
        """
        self._redis = redis
        self._on_ring = on_ring
        self._pending: Counter[str] = Counter()
        self._wake = asyncio.Event()

    def ring(self, queues: Iterable[str]) -> None:
        """Tell the workers that each of *queues* has work; a queue is named once per job."""
        if self._redis is None:
            return
        self._pending.update(queues)
        self._wake.set()

    async def run(self) -> None:
        """Send rings until cancelled. While Redis is away, rings are dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pending, self._pending = self._pending, Counter()
            for queue, count in pending.items():
                outcome = "sent"
                try:
                    await self._send(queue, count)
                except REDIS_ERRORS as error:
                    outcome = "failed"
                    report_failure(self._redis, error)
                if self._on_ring is not None:
                    self._on_ring(outcome, count)

    async def _send(self, queue: str, count: int) -> None:
        if self._redis is None:
            return
        now = int(time.time() * 1000)
        body = serialize_job(FUNCTION, (queue,), {}, None, now, serializer=serialize)
        await self._redis.execute_command(  # type: ignore[no-untyped-call]
            "EVAL",
            _RING,
            1,
            arq_queue(queue),
            count,
            _MAX_WAITING,
            uuid4().hex,
            job_key_prefix,
            body,
            _EXPIRY_MS,
            now,
        )


async def wait_for_ring(redis: ArqRedis, queues: Sequence[str], *, seconds: float) -> Ring | None:
    """Wait for a ring of one of *queues* and take it; None if none comes within *seconds*.

    A ring only says that it is time to claim: one that others have forged costs a claim.
    """
    with checked_reply():
        taken = await redis.bzpopmin([arq_queue(queue) for queue in queues], timeout=seconds)
        if taken is None:
            return None
        key, name, _ = taken
        return Ring(bytes(key), bytes(name))


async def clear_rings(redis: ArqRedis, ring: Ring, others: int) -> None:
    """Remove the arq job of a taken ring and up to *others* more rings of its queue: one claim serves all."""
    prefix = job_key_prefix.encode()
    with checked_reply():
        popped = await redis.zpopmin(ring.key, others) if others > 0 else []
        names = [ring.name, *(bytes(name) for name, _ in popped)]
        await redis.delete(*(prefix + name for name in names))
