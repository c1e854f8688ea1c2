"""The sockets of a job: refusals, what a client may say, many watchers, goodbye."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis.asyncio as async_redis
import websockets
from websockets.exceptions import ConnectionClosed

from adapters.database import StatementPool
from harness import Api

SECONDS = 15


async def until_closed(socket: websockets.ClientConnection) -> AsyncIterator[str | bytes]:
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


async def closing(url: str) -> tuple[int, list[dict[str, Any]]]:
    """The close code of a socket, and the frames before it."""
    async with asyncio.timeout(SECONDS), websockets.connect(url) as socket:
        frames = [msgspec.json.decode(message) async for message in until_closed(socket)]
    assert socket.close_code is not None
    return socket.close_code, frames


async def waiting_job(api: Api) -> str:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    return str(job["id"])


@pytest.mark.parametrize("job_id", ["01a1fccd-6b98-76e1-8951-c578b7c6189f", "1", "not-a-uuid"])
async def test_an_unknown_job_is_accepted_and_closed_with_4404(api: Api, job_id: str) -> None:
    code, frames = await closing(f"{api.ws}/api/v1/jobs/{job_id}/ws")

    assert (code, frames) == (4404, [])


@pytest.mark.parametrize("after", ["2", "99999999999999999999999", "-1", "x"])
async def test_a_cursor_beyond_the_head_is_closed_with_4400(api: Api, after: str) -> None:
    job_id = await waiting_job(api)

    code, frames = await closing(f"{api.ws}/api/v1/jobs/{job_id}/ws?after={after}")

    assert (code, [frame["code"] for frame in frames]) == (4400, ["cursor_beyond_head"])


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "[]",
        "1",
        '"ping"',
        "{}",
        '{"type": 1}',
        '{"type": "shout"}',
        '{"type": "resume"}',
        '{"type": "resume", "after": "1"}',
        '{"type": "resume", "after": -1}',
        '{"type": "resume", "after": 1e400}',
        '{"type": "resume", "after": 99999999999999999999}',
        "[" * 100_000,
        "x" * 1_000_000,
        b"\xff\xfe\x00",
        b'{"type": "\xff"}',
        b"x" * 100_000,
    ],
)
async def test_what_cannot_be_understood_is_answered_and_the_socket_stays(
    api: Api, message: str | bytes
) -> None:
    job_id = await waiting_job(api)
    async with asyncio.timeout(SECONDS), websockets.connect(f"{api.ws}/api/v1/jobs/{job_id}/ws") as socket:
        await socket.send(message)
        await socket.send('{"type": "ping"}')

        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] != "pong":
            frames.append(msgspec.json.decode(await socket.recv()))

    assert [frame["type"] for frame in frames if frame["type"] in ("error", "pong")] == ["error", "pong"]


async def test_a_binary_message_is_understood(api: Api) -> None:
    job_id = await waiting_job(api)
    async with (
        asyncio.timeout(SECONDS),
        websockets.connect(f"{api.ws}/api/v1/jobs/{job_id}/ws?after=1") as socket,
    ):
        await socket.recv()

        await socket.send(b'{"type": "ping"}')

        assert msgspec.json.decode(await socket.recv()) == {"type": "pong"}


async def test_a_watcher_may_go_back(api: Api) -> None:
    job_id = await waiting_job(api)
    async with (
        asyncio.timeout(SECONDS),
        websockets.connect(f"{api.ws}/api/v1/jobs/{job_id}/ws?after=1") as socket,
    ):
        await socket.recv()

        await socket.send('{"type": "resume", "after": 0}')

        assert msgspec.json.decode(await socket.recv())["type"] == "job.queued"


async def test_fifty_watchers_see_the_same_over_one_subscription(api: Api, redis_url: str) -> None:
    job_id = await waiting_job(api)
    watching = [asyncio.create_task(api.watch(job_id)) for _ in range(50)]
    async with async_redis.Redis.from_url(redis_url) as client, asyncio.timeout(SECONDS):
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
    assert all(one == events[0] for one in events)
    assert [event["type"] for event in events[0]] == ["job.queued", "job.cancelled"]
    assert hub._feeds == {}


async def test_a_socket_of_one_job_hears_nothing_of_another(api: Api) -> None:
    mine, other = await waiting_job(api), await waiting_job(api)
    watching = asyncio.create_task(api.watch(mine))

    await api.http.post(f"/api/v1/jobs/{other}/cancel")
    await api.http.post(f"/api/v1/jobs/{mine}/cancel")

    assert {frame["job_id"] for frame in await watching if "job_id" in frame} == {mine}


async def test_clients_that_vanish_leave_nothing_behind(api: Api, redis_url: str) -> None:
    job_id = await waiting_job(api)
    for _ in range(30):
        socket = await websockets.connect(f"{api.ws}/api/v1/jobs/{job_id}/ws")
        await socket.recv()
        socket.transport.abort()

    async with async_redis.Redis.from_url(redis_url) as client, asyncio.timeout(SECONDS):
        while (await client.pubsub_numsub(f"headrace:job:{job_id}"))[0][1]:
            await asyncio.sleep(0.02)
    assert api.app.state.services.hub._feeds == {}


async def test_a_job_deleted_while_watched_ends_its_streams(api: Api, database: StatementPool) -> None:
    job_id = await waiting_job(api)
    ended = asyncio.create_task(closing(f"{api.ws}/api/v1/jobs/{job_id}/ws"))
    hub = api.app.state.services.hub
    async with asyncio.timeout(SECONDS):
        while not hub._feeds:
            await asyncio.sleep(0.01)

    await database.fetch("DELETE FROM jobs WHERE id = $1::uuid", job_id)

    code, frames = await ended
    assert (code, frames[-1]["type"], frames[-1]["code"]) == (4404, "error", "job_deleted")


async def test_a_server_that_stops_says_goodbye(api: Api) -> None:
    job_id = await waiting_job(api)
    url = f"{api.ws}/api/v1/jobs/{job_id}/ws"
    ended = asyncio.create_task(closing(url))
    hub = api.app.state.services.hub
    async with asyncio.timeout(SECONDS):
        while not hub._feeds:
            await asyncio.sleep(0.01)

    await hub.say_goodbye()

    code, frames = await ended
    assert (code, frames[-1]["type"]) == (1012, "bye")
    assert 0 < frames[-1]["retry_after"] <= 3


async def test_frames_that_are_ready_together_may_travel_together(api: Api) -> None:
    job_id = await waiting_job(api)
    await api.http.post(f"/api/v1/jobs/{job_id}/cancel")

    async with (
        asyncio.timeout(SECONDS),
        websockets.connect(f"{api.ws}/api/v1/jobs/{job_id}/ws?batch=true") as socket,
    ):
        messages = [msgspec.json.decode(message) async for message in socket]

    assert any(isinstance(message, list) for message in messages)
    flat = [frame for message in messages for frame in (message if isinstance(message, list) else [message])]
    assert [frame["type"] for frame in flat] == ["hello", "job.queued", "job.cancelled", "end"]
