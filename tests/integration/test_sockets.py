"""Sockets of an API process: many watchers, vanished clients, and the shutdown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis.asyncio as async_redis
import websockets
from websockets.exceptions import ConnectionClosed

from headrace.api.server import websocket_protocol
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket


async def until_closed(socket: websockets.ClientConnection) -> AsyncIterator[str | bytes]:
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


async def closing(url: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the close code of a socket and the frames before it."""
    async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url) as socket:
        frames = [msgspec.json.decode(message) async for message in until_closed(socket)]
    assert socket.close_code is not None
    return socket.close_code, frames


async def waiting_job(api: Api) -> str:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    return str(job["id"])


async def test_fifty_watchers_see_the_same_events_over_one_subscription(api: Api, redis_url: str) -> None:
    job_id = await waiting_job(api)
    watching = [asyncio.create_task(api.watch(job_id)) for _ in range(50)]
    async with async_redis.Redis.from_url(redis_url) as client, asyncio.timeout(PATIENCE_SECONDS):
        while not (counts := await client.pubsub_numsub(f"headrace:job:{job_id}"))[0][1]:
            await asyncio.sleep(0.02)
        hub = api.app.state.services.hub
        while len(hub._feeds) != 1 or len(next(iter(hub._feeds.values()))._watchers) != 50:
            await asyncio.sleep(0.02)

        await api.http.post(f"/api/v1/jobs/{job_id}/cancel")
        seen = await asyncio.gather(*watching)
        while (await client.pubsub_numsub(f"headrace:job:{job_id}"))[0][1]:
            await asyncio.sleep(0.02)

    assert counts[0][1] == 1
    events = [[frame for frame in frames if "seq" in frame] for frames in seen]
    assert all(received == events[0] for received in events)
    assert [event["type"] for event in events[0]] == ["job.queued", "job.cancelled"]
    assert hub._feeds == {}


async def test_a_hundred_vanished_clients_leave_no_subscription_and_no_task(
    api: Api, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No missing pong reveals them within this test.
    for name in ("_PONG_SECONDS", "_KEEPALIVE_PONG_SECONDS"):
        monkeypatch.setattr(websocket_protocol, name, 600)
    job_id = await waiting_job(api)
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws"
    before = asyncio.all_tasks()
    for _ in range(100):
        socket = await open_socket(url)
        await socket.recv()
        socket.transport.abort()

    async with async_redis.Redis.from_url(redis_url) as client, asyncio.timeout(PATIENCE_SECONDS):
        while (await client.pubsub_numsub(f"headrace:job:{job_id}"))[0][1]:
            await asyncio.sleep(0.02)
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left, timeout=1)
    assert api.app.state.services.hub._feeds == {}


async def test_watchers_get_a_bye_when_the_server_stops(api: Api) -> None:
    job_id = await waiting_job(api)
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws"
    ended = asyncio.create_task(closing(url))
    hub = api.app.state.services.hub
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not hub._feeds:
            await asyncio.sleep(0.01)

    await hub.say_goodbye()

    code, frames = await ended
    assert (code, frames[-1]["type"]) == (1012, "bye")
    assert 0 < frames[-1]["retry_after"] <= 3
