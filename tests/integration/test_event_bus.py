"""Subscriptions travel together, and one that failed is repeated."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from headrace.adapters import event_bus
from headrace.adapters.event_bus import EventBus
from headrace.adapters.messages import EventsMessage, MessageSigner
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.tasks import cancel_and_wait
from support.patience import PATIENCE_SECONDS

SIGNER = MessageSigner("a secret")


@pytest.fixture
async def bus(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EventBus]:
    monkeypatch.setattr(event_bus, "_CONFIRM_SECONDS", PATIENCE_SECONDS)
    redis = build_redis(redis_url)
    bus = EventBus(redis, SIGNER)
    running = asyncio.create_task(bus.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not bus.is_connected:
            await asyncio.sleep(0.01)
    yield bus
    await cancel_and_wait([running])
    await close_redis(redis)


async def subscribe_calls(redis: Redis, command: str = "subscribe") -> int:
    calls: int = (await redis.info("commandstats")).get(f"cmdstat_{command}", {"calls": 0})["calls"]
    return calls


async def test_streams_that_open_and_end_together_share_a_command(bus: EventBus, redis_url: str) -> None:
    channels = [f"many:{number}" for number in range(1_000)]
    redis = build_redis(redis_url)
    await redis.config_resetstat()

    assert all(await asyncio.gather(*(bus.subscribe(channel, lambda _: None) for channel in channels)))
    for channel in channels:
        bus.unsubscribe(channel)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await redis.pubsub_channels("many:*"):
            await asyncio.sleep(0.01)

    assert (await subscribe_calls(redis), await subscribe_calls(redis, "unsubscribe")) == (1, 1)
    await close_redis(redis)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_stream_that_opens_while_the_last_one_of_its_job_ends_stays_subscribed(
    bus: EventBus, redis_url: str, turns: int
) -> None:
    received = asyncio.Event()
    assert await bus.subscribe("busy", lambda _: None)

    bus.unsubscribe("busy")
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await bus.subscribe("busy", lambda _: received.set())
    # The command of a later subscription is sent after those of earlier ones.
    assert await bus.subscribe("later", lambda _: None)

    publisher = build_redis(redis_url)
    assert await publisher.publish("busy", SIGNER.encode("busy", EventsMessage([]))) == 1
    async with asyncio.timeout(PATIENCE_SECONDS):
        await received.wait()
    await close_redis(publisher)


async def test_an_unconfirmed_subscription_is_repeated_by_the_next_check(
    bus: EventBus, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = asyncio.Event()

    async def lost(*_channels: str) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(event_bus, "_CONFIRM_SECONDS", 0.05)
        patch.setattr(PubSub, "subscribe", lost)
        assert not await bus.subscribe("deaf", lambda _: received.set())

    bus.resubscribe()

    publisher = build_redis(redis_url)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not received.is_set():
            await publisher.publish("deaf", SIGNER.encode("deaf", EventsMessage([])))
            await asyncio.sleep(0.01)
    await close_redis(publisher)


async def test_a_confirmed_subscription_is_not_repeated(bus: EventBus, redis_url: str) -> None:
    assert await bus.subscribe("known", lambda _: None)
    redis = build_redis(redis_url)
    await redis.config_resetstat()

    bus.resubscribe()
    assert await bus.subscribe("another", lambda _: None)

    assert await subscribe_calls(redis) == 1
    await close_redis(redis)
