"""Everything that can watch a job, in one form: the three transports as they are, and the clients."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import httpx
import msgspec
import pytest
import websockets
from msgspec import Struct
from websockets.exceptions import ConnectionClosed

from conformance.node import needs_node, node_watch
from headrace_client import AsyncClient, Client, WatchRefusedError

SECONDS: Final = 20

Hear = Callable[[bytes], None]
Watcher = Callable[[str, str, int, Hear], Coroutine[Any, Any, str]]
"""Given the service, a job and a cursor, tells every frame, and returns why it ended."""

_CLOSED: Final = {1000: "ended", 4400: "cursor_beyond_head", 4404: "job_not_found", 1012: "bye"}


class Seen(Struct):
    """What a watcher has told so far, and in the end why it ended."""

    frames: list[bytes] = []
    ending: str = ""

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(frame) for frame in self.frames]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if "seq" in body]

    @property
    def event_bytes(self) -> list[bytes]:
        return [frame for frame in self.frames if "seq" in msgspec.json.decode(frame)]


async def socket(url: str, job_id: str, after: int, hear: Hear) -> str:
    """WS /jobs/{id}/ws."""
    last = b""
    address = f"{url.replace('http', 'ws', 1)}/api/v1/jobs/{job_id}/ws?after={after}"
    async with websockets.connect(address, max_size=None) as connection:
        try:
            while True:
                last = await connection.recv(decode=False)
                hear(last)
        except ConnectionClosed:
            code = connection.close_code or 0
    is_deleted = code == 4404 and b'"job_deleted"' in last
    return "job_deleted" if is_deleted else _CLOSED.get(code, str(code))


async def server_events(url: str, job_id: str, after: int, hear: Hear) -> str:
    """GET /jobs/{id}/stream."""
    last = b""
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS) as http:
        address = f"/api/v1/jobs/{job_id}/stream?after={after}"
        async with http.stream("GET", address) as answer:
            if answer.is_error:
                return await _refused(answer)
            async for block in blocks(answer):
                (last,) = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
                hear(last)
    is_over = answer.status_code == 204 or b'"end"' in last
    return "ended" if is_over else "job_deleted" if b'"job_deleted"' in last else "broken"


async def blocks(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The events of a stream, each with its lines."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n\n")
        for block in whole:
            yield block


async def polling(url: str, job_id: str, after: int, hear: Hear) -> str:
    """GET /jobs/{id}/events, again and again."""
    was_there = False
    async with httpx.AsyncClient(base_url=f"{url}/api/v1/jobs/{job_id}", timeout=SECONDS) as http:
        while True:
            answer = await http.get(f"/events?limit=1000&after={after}")
            if answer.is_error:
                code = await _refused(answer)
                return "job_deleted" if was_there and code == "job_not_found" else code
            was_there = True
            events = msgspec.json.decode(answer.content, type=_Events).items
            for event in events:
                hear(bytes(event))
            after += len(events)
            job = (await http.get("")).json()
            if job.get("finished_at") and job["event_seq"] == after:
                return "ended"
            await asyncio.sleep(0.02)


async def python(url: str, job_id: str, after: int, hear: Hear) -> str:
    """The client for callers that block, in a thread."""

    def watch() -> str:
        with Client(url) as client, client.watch(job_id, after, patience=SECONDS) as frames:
            try:
                for _ in frames:
                    loop.call_soon_threadsafe(hear, frames.raw)
            except WatchRefusedError as error:
                return error.code
            return "ended"

    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(watch)


async def python_async(url: str, job_id: str, after: int, hear: Hear) -> str:
    """The client for callers in an event loop."""
    async with AsyncClient(url) as client, client.watch(job_id, after, patience=SECONDS) as frames:
        try:
            async for _ in frames:
                hear(frames.raw)
        except WatchRefusedError as error:
            return error.code
        return "ended"


async def typescript_socket(url: str, job_id: str, after: int, hear: Hear) -> str:
    """The client for browsers, over the WebSocket of Node."""
    return await node_watch("socket", url, job_id, after, hear)


async def typescript_events(url: str, job_id: str, after: int, hear: Hear) -> str:
    """The client for browsers, over fetch."""
    return await node_watch("events", url, job_id, after, hear)


TRANSPORTS: Final[tuple[Watcher, ...]] = (socket, server_events, polling)
STREAMS: Final[tuple[Watcher, ...]] = (socket, server_events)
PYTHON: Final[tuple[Watcher, ...]] = (python, python_async)
TYPESCRIPT: Final[tuple[Watcher, ...]] = (typescript_socket, typescript_events)
CLIENTS: Final = (*PYTHON, *TYPESCRIPT)
EVERYBODY: Final = (*TRANSPORTS, *CLIENTS)


def watched_by(*watchers: Watcher) -> pytest.MarkDecorator:
    """Run the case once with each of them, as `watcher`."""
    cases = [
        pytest.param(watcher, id=watcher.__name__, marks=needs_node if watcher in TYPESCRIPT else ())
        for watcher in watchers
    ]
    return pytest.mark.parametrize("watcher", cases)


async def watched(watcher: Watcher, url: str, job_id: str, after: int = 0) -> Seen:
    """All that the watcher tells, up to its end."""
    seen = Seen()
    async with asyncio.timeout(SECONDS):
        seen.ending = await watcher(url, job_id, after, seen.frames.append)
    return seen


class Watching:
    """A watcher at work in the background of a test."""

    def __init__(self, watcher: Watcher, url: str, job_id: str) -> None:
        self._seen = Seen()
        self._began = asyncio.Event()
        self._task = asyncio.create_task(watcher(url, job_id, 0, self._hear))

    async def until_it_tells(self) -> None:
        """Wait for the first event: from then on it watches."""
        async with asyncio.timeout(SECONDS):
            await self._began.wait()

    async def seen(self) -> Seen:
        """What it has told, once it has ended."""
        async with asyncio.timeout(SECONDS):
            self._seen.ending = await self._task
        return self._seen

    def _hear(self, frame: bytes) -> None:
        self._seen.frames.append(frame)
        if b'"seq"' in frame:
            self._began.set()


class _Events(Struct):
    items: list[msgspec.Raw]


async def _refused(answer: httpx.Response) -> str:
    problem = msgspec.json.decode(await answer.aread(), type=dict[str, Any])
    # A path that is none at all has no job behind it either.
    return "job_not_found" if answer.status_code == 404 else str(problem["code"])
