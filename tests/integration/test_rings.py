"""A submission leaves only the name of a queue in Redis, and nothing of the job."""

import asyncio

import msgspec
import redis.asyncio as async_redis

from support.harness import Api
from support.patience import PATIENCE_SECONDS


async def everything(client: async_redis.Redis) -> bytes:
    """Return all keys and values of Redis."""
    held: list[bytes] = []
    async for key in client.scan_iter():
        kind = await client.type(key)
        assert kind in (b"string", b"zset")
        held += [
            key,
            *([await client.get(key) or b""] if kind == b"string" else await client.zrange(key, 0, -1)),
        ]
    return b"\n".join(held)


async def test_a_ring_contains_the_queue_name_and_nothing_of_the_job(api: Api, redis_url: str) -> None:
    job = await api.submit(
        "ticks", params={"count": 98765}, meta={"who": "hunter2"}, tags=["confidential"], queue="slowly"
    )

    async with async_redis.Redis.from_url(redis_url) as client, asyncio.timeout(PATIENCE_SECONDS):
        while not await client.zcard("arq:queue:slowly"):
            await asyncio.sleep(0.02)
        held = await everything(client)

    assert b"slowly" in held
    secrets = ("hunter2", "confidential", "98765", "ticks", "who", job["id"], job["id"].replace("-", ""))
    assert [secret for secret in secrets if secret.encode() in held] == []
    assert msgspec.msgpack.encode(98765) not in held
