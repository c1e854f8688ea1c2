"""Messages reach their subscribers, and messages without a subscriber are not published."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from headrace.adapters.listeners import job_channel, owner_channel
from headrace.adapters.messages import (
    EventsMessage,
    Message,
    MessageSigner,
    ProgressMessage,
    SummariesMessage,
)
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import LogWritten, ProgressFrame
from support.patience import PATIENCE_SECONDS

OWNER, OTHER = uuid4(), uuid4()
SIGNER = MessageSigner("a secret")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def news(job_id: UUID, head: int, owner_id: UUID = OWNER) -> JobNews:
    return JobNews(
        job_id=job_id,
        owner_id=owner_id,
        pipeline="noop",
        state="running",
        head=head,
        progress=0.5,
        at=AT,
        events=[encode_event(LogWritten(level="info", message=str(head)))],
    )


FRAME = partial(ProgressFrame, head=1, attempt=1, fence=1, fraction=0.5, steps={})


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = build_redis(redis_url)
    yield client
    await close_redis(client)


async def messages_on(redis: Redis, channel: str, news_items: list[JobNews]) -> list[Message]:
    """Publish *news_items* at once and return the messages that a subscriber of *channel* receives."""
    async with redis.pubsub() as listener:
        await listener.subscribe(channel)
        await listener.get_message(timeout=PATIENCE_SECONDS)
        publisher = RedisPublisher(redis, SIGNER)
        publisher.publish(news_items)
        await publisher.drain()
        await redis.publish(channel, "the end")
        messages: list[Message] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                message = await listener.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_SECONDS)
                if message is None:
                    continue
                if message["data"] == b"the end":
                    return messages
                messages.append(SIGNER.decode(channel, message["data"]))


@pytest.mark.parametrize("jobs", [1, 100])
async def test_job_subscribers_get_its_events_in_order_in_one_message(redis: Redis, jobs: int) -> None:
    ids = [uuid4() for _ in range(jobs)]
    published = [news(job_id, head) for head in (1, 2) for job_id in ids]

    (message,) = await messages_on(redis, job_channel(ids[-1]), published)

    assert isinstance(message, EventsMessage)
    assert [event.seq for event in message.events] == [1, 2]
    assert all(str(ids[-1]).encode() in event.frame for event in message.events)


@pytest.mark.parametrize("jobs", [1, 100])
async def test_owner_subscribers_get_the_newest_summary_of_each_job(redis: Redis, jobs: int) -> None:
    ids = [uuid4() for _ in range(jobs)]
    published = [news(job_id, head) for head in (1, 2) for job_id in ids] + [news(uuid4(), 1, OTHER)]

    (message,) = await messages_on(redis, owner_channel(OWNER), published)

    assert isinstance(message, SummariesMessage)
    assert [(summary.job_id, summary.head) for summary in message.summaries] == [
        (job_id, 2) for job_id in ids
    ]
    assert message.at == AT


async def test_messages_without_subscribers_are_not_published(redis: Redis) -> None:
    await redis.config_resetstat()
    publisher = RedisPublisher(redis, SIGNER)
    publisher.publish([news(uuid4(), 1) for _ in range(100)])

    await publisher.drain()

    commands = await redis.info("commandstats")
    assert "cmdstat_publish" not in commands
    assert commands["cmdstat_pubsub|channels"]["calls"] == 1


async def test_draining_publishes_the_messages_of_an_interrupted_send(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, never = asyncio.Event(), asyncio.Event()

    async def wait_forever(*_: object) -> None:
        called.set()
        await never.wait()

    publisher = RedisPublisher(redis, SIGNER)
    job_id = uuid4()
    async with redis.pubsub() as listener:
        await listener.subscribe(job_channel(job_id))
        await listener.get_message(timeout=PATIENCE_SECONDS)
        with monkeypatch.context() as patch:
            patch.setattr(redis, "execute_command", wait_forever)
            publisher.publish([news(job_id, head) for head in range(1, 101)])
            running = asyncio.create_task(publisher.run())
            await asyncio.wait_for(called.wait(), PATIENCE_SECONDS)
            await cancel_and_wait([running])

        await publisher.drain()

        message = await listener.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_SECONDS)
    assert message is not None
    events = SIGNER.decode(job_channel(job_id), message["data"])
    assert isinstance(events, EventsMessage)
    assert [event.seq for event in events.events] == list(range(1, 101))


async def test_progress_does_not_overtake_earlier_events(redis: Redis) -> None:
    publisher = RedisPublisher(redis, SIGNER)
    job_id = uuid4()
    async with redis.pubsub() as listener:
        await listener.subscribe(job_channel(job_id))
        await listener.get_message(timeout=PATIENCE_SECONDS)
        publisher.publish([news(uuid4(), 1) for _ in range(600)])
        publisher.publish([news(job_id, 1)])
        publisher.publish_progress(job_id, FRAME)

        await publisher.drain()

        kinds = []
        for _ in range(2):
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_SECONDS)
            assert message is not None
            kinds.append(type(SIGNER.decode(job_channel(job_id), message["data"])))
    assert kinds == [EventsMessage, ProgressMessage]


async def test_frames_of_progress_are_made_only_for_jobs_with_listeners(redis: Redis) -> None:
    publisher = RedisPublisher(redis, SIGNER)
    job_ids = [uuid4() for _ in range(100)]
    made: list[UUID] = []

    def frame_of(job_id: UUID) -> ProgressFrame:
        made.append(job_id)
        return FRAME()

    async with redis.pubsub() as listener:
        await listener.subscribe(job_channel(job_ids[7]))
        await listener.get_message(timeout=PATIENCE_SECONDS)
        for job_id in job_ids:
            publisher.publish_progress(job_id, partial(frame_of, job_id))

        await publisher.drain()

        message = await listener.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_SECONDS)
    assert message is not None
    assert made == [job_ids[7]]
