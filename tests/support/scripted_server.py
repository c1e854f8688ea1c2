"""A service that misbehaves on purpose: it plays a scripted scene for each connection to a stream."""

import asyncio
import http
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from msgspec import Struct
from websockets.asyncio.server import ServerConnection, serve

from support.patience import PATIENCE_SECONDS

_AFTER: Final = re.compile(r"[?&]after=(\d+)")
_TOKEN: Final = re.compile(r"^authorization: (.*?)\r$", re.IGNORECASE | re.MULTILINE)
_STATUSES: Final = {4400: 422, 4401: 401, 4403: 403, 4404: 404, 1008: 503, 1012: 503, 1013: 429}
_CODES: Final = {401: "token_invalid", 403: "forbidden", 404: "job_not_found", 422: "cursor_beyond_head"}


class Scene(Struct):
    """Frames (a list of them is one message), and the close code; over HTTP, its matching status.

    *code* None: the connection breaks without a close frame.
    """

    frames: list[Any] = []
    code: int | None = 1000
    reason: str = ""


def sends(*frames: Any, code: int | None = 1000, reason: str = "") -> Scene:
    return Scene(list(frames), code, reason)


class ScriptedServer(Struct):
    """The server's URL, and the cursors and tokens that clients sent."""

    url: str = ""
    cursors: list[int] = []
    tokens: list[str | None] = []


@asynccontextmanager
async def scripted_server(*scenes: Scene) -> AsyncIterator[ScriptedServer]:
    """Play the scenes over WebSocket, and repeat the last one."""
    server = ScriptedServer()

    async def play(socket: ServerConnection) -> None:
        assert socket.request is not None
        server.tokens.append(socket.request.headers.get("Authorization"))
        scene = _next(server, scenes, socket.request.path)
        for frame in scene.frames:
            await socket.send(json.dumps(frame))
        if scene.code is None:
            # The frames must have arrived first, because a reset would discard them.
            await (await socket.ping())
            socket.transport.abort()
        else:
            await socket.close(scene.code, scene.reason)

    async with serve(play, "127.0.0.1", 0) as listener:
        server.url = f"http://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"
        yield server


@asynccontextmanager
async def scripted_event_server(*scenes: Scene) -> AsyncIterator[ScriptedServer]:
    """Play the scenes as server-sent events."""
    server = ScriptedServer()
    playing: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(respond_and_close(reader, writer))
        playing.add(task)
        task.add_done_callback(playing.discard)
        await task

    async def respond_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, token = request.split(" ")[1], _TOKEN.search(request)
        server.tokens.append(token and token[1])
        scene = _next(server, scenes, path)
        status = 200 if scene.frames else _STATUSES.get(scene.code or 0, 200)
        messages = [
            message for frame in scene.frames for message in (frame if isinstance(frame, list) else [frame])
        ]
        body = "".join(f"data: {json.dumps(message)}\n\n" for message in messages)
        if status != 200:
            body = json.dumps(
                {"status": status, "code": _CODES.get(status, "rate_limited"), "detail": scene.reason}
            )
        head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()

    async with await asyncio.start_server(play, "127.0.0.1", 0) as listener:
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield server
        # A client may leave before its connection is closed.
        if playing:
            await asyncio.wait(playing, timeout=PATIENCE_SECONDS)


def _next(server: ScriptedServer, scenes: tuple[Scene, ...], path: str) -> Scene:
    match = _AFTER.search(path)
    assert match is not None
    server.cursors.append(int(match[1]))
    return scenes[min(len(server.cursors), len(scenes)) - 1]
