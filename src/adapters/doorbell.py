"""Rings: arq jobs that say "this queue has work" and nothing else. Losing one costs at most a second."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job

from headrace.adapters.redis_client import REDIS_ERRORS

_log = structlog.get_logger(__name__)

FUNCTION: Final = "work"
_MOST_WAITING: Final = 1_000
_KEPT_MS: Final = 60_000
_QUEUE_PREFIX: Final = "arq:queue:"

# One round trip: as many rings as are missing, none when plenty wait already.
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
    """The Redis key of a queue's rings."""
    return _QUEUE_PREFIX + queue


class Ring(msgspec.Struct, frozen=True):
    """A ring that was taken: the Redis key of its queue, and its name there."""

    key: str
    name: str


class Doorbell:
    """Rings in the background, so that whoever submits never waits for Redis. `run` is its one task."""

    def __init__(self, redis: ArqRedis | None) -> None:
        """None: no Redis is configured, workers find out by asking PostgreSQL."""
        self._redis = redis
        self._wanted: Counter[str] = Counter()
        self._wake = asyncio.Event()

    def ring(self, queues: Iterable[str]) -> None:
        """Tell the workers that each of *queues* (named once a job) has work."""
        if self._redis is None:
            return
        self._wanted.update(queues)
        self._wake.set()

    async def run(self) -> None:
        """Ring until cancelled; while Redis is away rings are dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted, self._wanted = self._wanted, Counter()
            for queue, count in wanted.items():
                try:
                    await self._ring(queue, count)
                except REDIS_ERRORS as error:
                    _log.warning("ring_dropped", queue=queue, error=type(error).__name__)

    async def _ring(self, queue: str, count: int) -> None:
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
            _MOST_WAITING,
            uuid4().hex,
            job_key_prefix,
            body,
            _KEPT_MS,
            now,
        )


async def wait_for_ring(redis: ArqRedis, queues: Sequence[str], *, seconds: float) -> Ring | None:
    """Wait for a ring of one of *queues* and take it; None when there was none in time."""
    taken = await redis.bzpopmin([arq_queue(queue) for queue in queues], timeout=seconds)
    if taken is None:
        return None
    key, ring, _ = taken
    return Ring(key.decode(), ring.decode())


async def clear_rings(redis: ArqRedis, ring: Ring, others: int) -> None:
    """Remove what a taken ring has left, and up to *others* more of its queue: one claim answers them all."""
    more = await redis.zpopmin(ring.key, others) if others > 0 else []
    names = [ring.name, *(name.decode() for name, _ in more)]
    await redis.delete(*(job_key_prefix + name for name in names))
