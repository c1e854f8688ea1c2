"""A watch against a server that misbehaves on purpose."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve

from cli.api_client import ApiClient
from cli.errors import GaveUpError, UnreachableError, WatchRefusedError
from cli.watching import Watch, split

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"
END = {"type": "end", "state": "succeeded"}

Scene = Callable[[ServerConnection], Awaitable[None]]


def events(*numbers: int) -> list[dict[str, Any]]:
    return [{"type": "log", "seq": number} for number in numbers]


@asynccontextmanager
async def stage(*scenes: Scene) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that plays a scene for each connection; gives its address and the cursors it is asked for."""
    asked: list[int] = []

    async def play(socket: ServerConnection) -> None:
        assert socket.request is not None
        asked.append(int(parse_qs(urlsplit(socket.request.path).query)["after"][0]))
        await scenes[min(len(asked), len(scenes)) - 1](socket)

    async with serve(play, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}", asked


def sends(*frames: dict[str, Any], code: int = 1000, reason: str = "") -> Scene:
    async def scene(socket: ServerConnection) -> None:
        for frame in frames:
            await socket.send(json.dumps(frame))
        await socket.close(code, reason)

    return scene


async def watched(url: str, after: int = 0, patience_seconds: float = 20) -> list[dict[str, Any]]:
    watch = Watch(ApiClient(url, None), JOB, after=after, patience_seconds=patience_seconds, was_reached=True)
    async with asyncio.timeout(30):
        return [frame.body async for frame in watch.frames()]


async def test_a_broken_stream_is_taken_up_after_the_last_event() -> None:
    first, second = sends(*events(1, 2, 3), code=1011), sends(*events(4, 5), END)

    async with stage(first, second) as (url, asked):
        frames = await watched(url)

    assert frames == [*events(1, 2, 3, 4, 5), END]
    assert asked == [0, 3]


async def test_an_event_that_comes_again_is_left_out() -> None:
    async with stage(sends(*events(1, 2, 2, 1, 3), END)) as (url, _):
        frames = await watched(url)

    assert frames == [*events(1, 2, 3), END]


async def test_a_gap_is_never_handed_on() -> None:
    async with stage(sends(*events(1, 3)), sends(*events(2, 3), END)) as (url, asked):
        frames = await watched(url)

    assert frames == [*events(1, 2, 3), END]
    assert asked == [0, 1]


async def test_a_goodbye_is_honoured() -> None:
    began = asyncio.get_running_loop().time()
    leaving = sends({"type": "bye", "retry_after": 0.4}, code=1012)

    async with stage(leaving, sends(END)) as (url, _):
        await watched(url)

    assert asyncio.get_running_loop().time() - began >= 0.4


@pytest.mark.parametrize(
    ("scene", "says"),
    [
        (sends(code=4404, reason="gone"), "there is no job .*: it does not exist"),
        (sends({"type": "error", "code": "job_deleted"}, code=4404), "there is no job .*: it was deleted"),
        (sends(code=4400, reason="after=9 is beyond the newest event, 2"), "after=9 is beyond"),
        (sends(code=4401), "not signed in"),
    ],
)
async def test_a_refusal_ends_the_watch(scene: Scene, says: str) -> None:
    async with stage(scene) as (url, asked):
        with pytest.raises(WatchRefusedError, match=says):
            await watched(url)

    assert len(asked) == 1


async def test_a_service_that_stays_away_is_given_up() -> None:
    async with stage(sends(*events(1, 2), code=1011), sends(code=1013)) as (url, asked):
        with pytest.raises(GaveUpError, match="--after 2") as raised:
            await watched(url, patience_seconds=1)

    assert raised.value.after == 2
    assert len(asked) > 2


async def test_a_service_that_was_never_there_is_given_up_soon() -> None:
    watch = Watch(ApiClient("http://127.0.0.1:9", None), JOB, after=0, patience_seconds=600)

    with pytest.raises(UnreachableError, match="headrace up"):
        await asyncio.wait_for(anext(watch.frames()), 10)


def test_a_message_is_a_frame_or_an_array_of_them_and_keeps_its_bytes() -> None:
    one = b'{"type":"log",  "seq":1}'

    assert [frame.raw for frame in split(one)] == [one]
    assert [frame.raw for frame in split(b"[" + one + b"," + one + b"]")] == [one, one]
