"""A failed subscription is repeated."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.adapters import event_bus
from headrace.adapters.event_bus import EventBus
from headrace.adapters.messages import EventsMessage, MessageSigner
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.tasks import cancel_and_wait
from support.patience import PATIENCE_SECONDS

SIGNER = MessageSigner("a secret")


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[EventBus]:
    redis = build_redis(redis_url)
    event_bus = EventBus(redis, SIGNER)
    running = asyncio.create_task(event_bus.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not event_bus.is_connected:
            await asyncio.sleep(0.01)
    yield event_bus
    await cancel_and_wait([running])
    await close_redis(redis)


async def test_an_unconfirmed_subscription_is_repeated_by_the_next_check(
    bus: EventBus, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_bus, "_CONFIRM_SECONDS", 0.05)
    received = asyncio.Event()
    async with bus._commands:
        confirmed = await bus.subscribe("deaf", lambda _: received.set())
    assert not confirmed

    await bus.resubscribe()

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

    await bus.resubscribe()

    assert "cmdstat_subscribe" not in await redis.info("commandstats")
    await close_redis(redis)
