"""Keys that others write to Redis, and a Redis that answers nonsense, end no process and stop no job."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from msgspec import Struct
from redis.asyncio import Redis

from headrace.adapters.doorbell import arq_queue
from headrace.adapters.rate_limiter import SharedLimiter
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS

LIMIT_KEY = "headrace:limit:user"
NONSENSE = [
    b":1\r\n",
    b"+OK\r\n",
    b"$5\r\nhello\r\n",
    b"$3\r\n\xff\xfe\xfd\r\n",
    b"*0\r\n",
    b"*1\r\n:1\r\n",
    b"*3\r\n:1\r\n:2\r\n:3\r\n",
    b"*3\r\n*0\r\n$-1\r\n*1\r\n$1\r\nx\r\n",
    b"*3\r\n$7\r\nmessage\r\n$2\r\n\xff\xfe\r\n$2\r\n\xff\xfe\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n",
    b"*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
    b"-ERR no\r\n",
    b"no protocol\r\n",
]


class NonsenseServer(Struct):
    """A server that answers every packet with *reply*, and counts them."""

    url: str
    reply: bytes
    packets: int = 0

    async def until_asked(self, times: int) -> None:
        """Wait until so many packets were answered with the present reply."""
        enough = self.packets + times
        while self.packets < enough:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def nonsense_server(reply: bytes) -> AsyncIterator[NonsenseServer]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                running.packets += 1
                writer.write(running.reply)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    running = NonsenseServer(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", reply)
    try:
        yield running
    finally:
        server.close()


@pytest.mark.slow
async def test_jobs_run_and_streams_end_beside_a_redis_that_answers_nonsense(settings: Settings) -> None:
    unlimited = 1_000_000
    async with nonsense_server(NONSENSE[0]) as redis:
        foreign = msgspec.structs.replace(
            settings, redis_url=redis.url, rate_limit_user=unlimited, rate_limit_address=unlimited
        )
        async with serving(foreign) as api, working(foreign) as running:
            for redis.reply in NONSENSE:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    frames = await api.watch((await api.submit("noop"))["id"])
                    await redis.until_asked(4)
                    ready = await api.http.get("/health/ready")
                ended = [task for task in running._background_tasks if task.done()]

                assert frames[-1] == {"type": "end", "state": "succeeded"}, redis.reply
                assert ready.status_code == 200, redis.reply
                assert ended == [], redis.reply


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = build_redis(redis_url)
    yield client
    await close_redis(client)


async def test_forged_rings_of_any_name_end_no_worker(service: Api, redis: Redis) -> None:
    await redis.zadd(arq_queue("default"), {b"\xff\xfe%d" % number: 0 for number in range(100)})

    job = await service.finish((await service.submit("noop"))["id"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await redis.zcard(arq_queue("default")):
            await asyncio.sleep(0.05)
    after = await service.finish((await service.submit("noop"))["id"])

    assert (job["state"], after["state"]) == ("succeeded", "succeeded")


@pytest.mark.parametrize(
    "value", [b"nan", b"-nan", b"inf", b"1e300", b"-1e300", b"text", b"\xff", b"0x7fffffffffffff"]
)
async def test_a_forged_bucket_is_a_full_one(redis: Redis, value: bytes) -> None:
    await redis.set(LIMIT_KEY, value)

    results = [await SharedLimiter(redis).acquire("user", 60) for _ in range(2)]

    assert [(result.is_granted, result.left) for result in results if result] == [(True, 59), (True, 58)]


async def test_a_bucket_of_another_type_is_treated_as_a_redis_that_is_away(redis: Redis) -> None:
    await redis.execute_command("LPUSH", LIMIT_KEY, "x")  # type: ignore[no-untyped-call]

    assert await SharedLimiter(redis).acquire("user", 60) is None


@pytest.mark.parametrize(
    "reply",
    [b"*3\r\n:61\r\n:0\r\n:0\r\n", b"*3\r\n:1\r\n:-5\r\n:0\r\n", b"*3\r\n:0\r\n:0\r\n:999999999999\r\n"],
)
async def test_permits_that_no_bucket_has_are_not_counted(reply: bytes) -> None:
    async with nonsense_server(reply) as server:
        client = build_redis(server.url)
        result = await SharedLimiter(client).acquire("user", 60)
        await close_redis(client)

    assert result is None
