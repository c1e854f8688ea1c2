"""Jobs and owners with listeners are found, whether few channels have listeners or many."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from headrace.adapters.listeners import Listeners, job_channel, owner_channel
from headrace.adapters.redis_client import build_redis, close_redis
from support.patience import PATIENCE_SECONDS

FEW, MANY = 3, 300


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = build_redis(redis_url)
    yield client
    await close_redis(client)


@pytest.mark.parametrize("others", [FEW, MANY])
async def test_only_jobs_and_owners_with_listeners_are_found(redis: Redis, others: int) -> None:
    job, silent_job, owner, silent_owner = (uuid4() for _ in range(4))
    channels = [job_channel(job), owner_channel(owner), *(job_channel(uuid4()) for _ in range(others))]
    async with redis.pubsub() as listener:
        await listener.subscribe(*channels)
        for _ in channels:
            await listener.get_message(timeout=PATIENCE_SECONDS)

        found = await Listeners(redis).find({job, silent_job}, {owner, silent_owner})

    assert found & {job, silent_job, owner, silent_owner} == {job, owner}


async def test_new_listeners_are_found_after_there_were_many(redis: Redis) -> None:
    listeners = Listeners(redis)
    new = uuid4()
    async with redis.pubsub() as listener:
        await listener.subscribe(*(job_channel(uuid4()) for _ in range(MANY)))
        for _ in range(MANY):
            await listener.get_message(timeout=PATIENCE_SECONDS)
        assert await listeners.find({new}, set()) == set()
        await listener.subscribe(job_channel(new))
        await listener.get_message(timeout=PATIENCE_SECONDS)

        assert await listeners.find({new}, set()) == {new}


async def test_channels_of_other_programs_are_ignored(redis: Redis) -> None:
    async with redis.pubsub() as listener:
        await listener.subscribe("headrace:job:none", b"headrace:\xff" * 5, "else")
        for _ in range(3):
            await listener.get_message(timeout=PATIENCE_SECONDS)

        found: set[UUID] = await Listeners(redis).find({uuid4()}, {uuid4()})

    assert found == set()
