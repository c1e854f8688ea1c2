"""A service that misbehaves on purpose: it plays a scene for each connection to a stream."""

import asyncio
import http
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from msgspec import Struct
from websockets.asyncio.server import ServerConnection, serve

_AFTER: Final = re.compile(r"[?&]after=(\d+)")
_TOKEN: Final = re.compile(r"^authorization: (.*?)\r$", re.IGNORECASE | re.MULTILINE)
_STATUSES: Final = {4400: 422, 4401: 401, 4404: 404, 1013: 503}


class Scene(Struct):
    """Frames (a list of them is one message), and the close code; over HTTP, what stands for it.

    *code* None: the connection breaks, without a word.
    """

    frames: list[Any] = []
    code: int | None = 1000
    reason: str = ""


def sends(*frames: Any, code: int | None = 1000, reason: str = "") -> Scene:
    return Scene(list(frames), code, reason)


class Stage(Struct):
    """Where it plays, the cursors that it was asked for, and by whom."""

    url: str = ""
    asked: list[int] = []
    tokens: list[str | None] = []


@asynccontextmanager
async def stage(*scenes: Scene) -> AsyncIterator[Stage]:
    """Play the scenes over WebSocket, the last one again and again."""
    there = Stage()

    async def play(socket: ServerConnection) -> None:
        assert socket.request is not None
        there.tokens.append(socket.request.headers.get("Authorization"))
        scene = _next(there, scenes, socket.request.path)
        for frame in scene.frames:
            await socket.send(json.dumps(frame))
        if scene.code is None:
            # What was sent must have arrived: a reset would take it along.
            await (await socket.ping())
            socket.transport.abort()
        else:
            await socket.close(scene.code, scene.reason)

    async with serve(play, "127.0.0.1", 0) as server:
        there.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield there


@asynccontextmanager
async def events_stage(*scenes: Scene) -> AsyncIterator[Stage]:
    """Play the scenes as server-sent events."""
    there = Stage()
    playing: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        playing.add(task)
        task.add_done_callback(playing.discard)
        await task

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await say(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(20):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, token = request.split(" ")[1], _TOKEN.search(request)
        there.tokens.append(token and token[1])
        scene = _next(there, scenes, path)
        status = 200 if scene.frames else _STATUSES.get(scene.code or 0, 200)
        flat = [one for frame in scene.frames for one in (frame if isinstance(frame, list) else [frame])]
        body = "".join(f"data: {json.dumps(one)}\n\n" for one in flat)
        if status != 200:
            body = json.dumps({"status": status, "code": "said_so", "detail": scene.reason})
        head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()

    async with await asyncio.start_server(play, "127.0.0.1", 0) as server:
        there.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield there
        # A client may have heard enough before its connection is closed.
        if playing:
            await asyncio.wait(playing, timeout=20)


def _next(there: Stage, scenes: tuple[Scene, ...], path: str) -> Scene:
    match = _AFTER.search(path)
    assert match is not None
    there.asked.append(int(match[1]))
    return scenes[min(len(there.asked), len(scenes)) - 1]
