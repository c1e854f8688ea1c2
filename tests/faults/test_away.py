"""Redis and PostgreSQL lose data or connections: no job is lost, and the service recovers by itself."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import redis.asyncio as async_redis

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS, open_socket


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[async_redis.Redis]:
    client = async_redis.Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def test_flushing_redis_loses_no_job(service: Api, redis: async_redis.Redis) -> None:
    jobs = [await service.submit("ticks", params={"count": 5, "interval_ms": 20}) for _ in range(30)]

    for _ in range(10):
        await redis.flushall()
        await asyncio.sleep(0.02)

    done = [await service.finish(job["id"]) for job in jobs]
    assert {job["state"] for job in done} == {"succeeded"}


async def test_watchers_miss_no_event_while_their_pubsub_is_killed(
    service: Api, redis: async_redis.Redis
) -> None:
    jobs = [
        await service.submit("ticks", params={"count": 30, "interval_ms": 20, "steps": 3}) for _ in range(10)
    ]

    async def cut() -> None:
        while True:
            await redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.1)

    cutting = asyncio.create_task(cut())
    watched = await asyncio.gather(*(service.watch(job["id"]) for job in jobs))
    cutting.cancel()

    for job, frames in zip(jobs, watched, strict=True):
        seen = [frame for frame in frames if "seq" in frame]
        assert seen == await service.events(job["id"])
        assert frames[-1] == {"type": "end", "state": "succeeded"}


async def test_an_unpublished_last_event_is_noticed(settings: Settings, database: StatementPool) -> None:
    async with serving(settings) as api, working(settings):
        job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            open_socket(f"{api.ws}/api/v1/jobs/{job['id']}/ws") as socket,
        ):
            await socket.recv()
            # This ends the job without a publication.
            await database.fetch(
                "WITH ended AS (UPDATE jobs SET state = 'cancelled', finished_at = now(), event_seq = 2"
                " WHERE id = $1::uuid RETURNING id)"
                " INSERT INTO job_events SELECT id, 2, now(), 'job.cancelled', '{}' FROM ended",
                job["id"],
            )

            rest = [msgspec.json.decode(message) async for message in socket]

    assert [frame["type"] for frame in rest if frame["type"] != "beat"] == [
        "job.queued",
        "job.cancelled",
        "end",
    ]


async def test_cutting_database_connections_under_load_loses_no_job(
    service: Api, database: StatementPool
) -> None:
    async def cut() -> None:
        while True:
            await database.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3"
            )
            await asyncio.sleep(0.15)

    cutting = asyncio.create_task(cut())
    accepted: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(accepted) < 40:
            response = await service.http.post("/api/v1/jobs", json={"pipeline": "noop"})
            assert response.status_code in (202, 503), response.text
            if response.status_code == 202:
                accepted.append(response.json()["id"])
            else:
                assert response.headers["retry-after"]
                await asyncio.sleep(0.05)
    cutting.cancel()

    done = [await service.finish(job_id) for job_id in accepted]

    assert {job["state"] for job in done} == {"succeeded"}
    for job in done:
        events = await service.events(job["id"])
        assert [event["seq"] for event in events] == list(range(1, job["event_seq"] + 1))
        assert sum(event["type"] == "job.succeeded" for event in events) == 1
