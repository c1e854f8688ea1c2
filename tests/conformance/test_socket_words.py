"""The messages that a client may send on the socket of a job, and the replies to invalid ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import websockets

from conformance.service import Service
from support.patience import PATIENCE_SECONDS, open_socket


@asynccontextmanager
async def connected(
    service: Service, job_id: str, query: str = ""
) -> AsyncIterator[websockets.ClientConnection]:
    """Connect to the socket of a job, and skip its `hello`."""
    url = f"{service.api.ws}/api/v1/jobs/{job_id}/ws{query}"
    async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url) as socket:
        await socket.recv()
        yield socket


async def next_of(socket: websockets.ClientConnection, *types: str) -> dict[str, Any]:
    """Return the next frame of one of these types."""
    while True:
        frame: dict[str, Any] = msgspec.json.decode(await socket.recv())
        if frame["type"] in types:
            return frame


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
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("x" * 1_000_000, id="one-megabyte"),
        b"\xff\xfe\x00",
        b'{"type": "\xff"}',
        pytest.param(b"x" * 100_000, id="binary"),
    ],
)
async def test_an_invalid_message_gets_an_error_and_the_socket_stays_open(
    service: Service, message: str | bytes
) -> None:
    async with connected(service, await service.waiting_job()) as socket:
        await socket.send(message)
        await socket.send('{"type": "ping"}')

        replies = [await next_of(socket, "error", "pong") for _ in range(2)]

    assert [reply["type"] for reply in replies] == ["error", "pong"]


async def test_binary_messages_are_accepted(service: Service) -> None:
    async with connected(service, await service.waiting_job(), "?after=1") as socket:
        await socket.send(b'{"type": "ping"}')

        assert msgspec.json.decode(await socket.recv()) == {"type": "pong"}


async def test_a_watcher_can_resume_from_an_earlier_event(service: Service) -> None:
    async with connected(service, await service.waiting_job(), "?after=1") as socket:
        await socket.send('{"type": "resume", "after": 0}')

        assert (await next_of(socket, "job.queued", "error"))["seq"] == 1


async def test_a_watcher_cannot_resume_beyond_the_head(service: Service) -> None:
    async with connected(service, await service.waiting_job(), "?after=1") as socket:
        await socket.send('{"type": "resume", "after": 2}')

        assert (await next_of(socket, "error"))["code"] == "cursor_beyond_head"


@pytest.mark.parametrize(
    ("pipeline", "params"),
    [("ticks", {"count": 1000, "interval_ms": 20}), ("crunch", {"seconds": 60})],
)
async def test_a_running_job_can_be_cancelled_over_the_socket(
    service: Service, pipeline: str, params: dict[str, Any]
) -> None:
    job = await service.api.submit(pipeline, params=params)
    async with connected(service, job["id"]) as socket:
        await next_of(socket, "progress")

        await socket.send('{"type":"cancel"}')

        rest = [msgspec.json.decode(message) async for message in socket]
    assert rest[-1] == {"type": "end", "state": "cancelled"}
    events = [frame["type"] for frame in rest if "seq" in frame]
    assert events[-2:] == ["job.cancel_requested", "job.cancelled"]
    steps = (await service.api.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]
    assert {step["state"] for step in steps} == {"cancelled"}


async def test_a_waiting_job_can_be_cancelled_over_the_socket(service: Service) -> None:
    async with connected(service, await service.waiting_job(), "?after=1") as socket:
        await socket.send('{"type":"cancel"}')

        rest = [msgspec.json.decode(message) async for message in socket]
    assert [frame["type"] for frame in rest] == ["job.cancelled", "end"]


@pytest.mark.parametrize("after", ["99999999999999999999999", "-1", "x"])
async def test_invalid_cursors_are_refused(service: Service, after: str) -> None:
    job_id = await service.waiting_job()
    url = f"{service.api.ws}/api/v1/jobs/{job_id}/ws?after={after}"
    async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url) as socket:
        frames = [await socket.recv()]
        await socket.wait_closed()

    assert (socket.close_code, msgspec.json.decode(frames[0])["code"]) == (4400, "cursor_beyond_head")
    for call in ("stream", "events"):
        response = await service.api.http.get(f"/api/v1/jobs/{job_id}/{call}", params={"after": after})
        assert response.status_code == 422


async def test_batch_mode_sends_ready_frames_in_one_message(service: Service) -> None:
    job_id = await service.waiting_job()
    await service.api.http.post(f"/api/v1/jobs/{job_id}/cancel")

    url = f"{service.api.ws}/api/v1/jobs/{job_id}/ws?batch=true"
    async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url) as socket:
        messages = [msgspec.json.decode(message) async for message in socket]

    assert any(isinstance(message, list) for message in messages)
    flat = [frame for message in messages for frame in (message if isinstance(message, list) else [message])]
    assert [frame["type"] for frame in flat] == ["hello", "job.queued", "job.cancelled", "end"]
