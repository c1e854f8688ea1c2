"""The ways to watch a job as functions of one type: the three transports, and the clients."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import httpx
import msgspec
import pytest
from msgspec import Struct
from websockets.exceptions import ConnectionClosed

from conformance.node import needs_node, node_watch
from headrace_client import AsyncClient, Client, WatchRefusedError
from support.harness import TLS
from support.patience import PATIENCE_SECONDS, open_socket

# Only a hanging test waits this long.

OnFrame = Callable[[bytes], None]
Watcher = Callable[[str, str, int, OnFrame], Coroutine[Any, Any, str]]
"""Watches a job: gets the URL, job id, cursor and a callback for every frame; returns why it ended."""

_CLOSED: Final = {1000: "ended", 4400: "cursor_beyond_head", 4404: "job_not_found", 1012: "bye"}


class WatchResult(Struct):
    """The frames of a watcher, and why it ended."""

    frames: list[bytes] = []
    end_reason: str = ""

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(frame) for frame in self.frames]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if "seq" in body]

    @property
    def event_bytes(self) -> list[bytes]:
        return [frame for frame in self.frames if "seq" in msgspec.json.decode(frame)]


async def socket(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """WS /jobs/{id}/ws."""
    last = b""
    address = f"{url.replace('http', 'ws', 1)}/api/v1/jobs/{job_id}/ws?after={after}"
    async with open_socket(address, max_size=None) as connection:
        try:
            while True:
                last = await connection.recv(decode=False)
                on_frame(last)
        except ConnectionClosed:
            code = connection.close_code or 0
    is_deleted = code == 4404 and b'"job_deleted"' in last
    return "job_deleted" if is_deleted else _CLOSED.get(code, str(code))


async def server_events(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """GET /jobs/{id}/stream."""
    last = b""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, verify=TLS) as http:
        address = f"/api/v1/jobs/{job_id}/stream?after={after}"
        async with http.stream("GET", address) as response:
            if response.is_error:
                return await _refused(response)
            async for block in blocks(response):
                (last,) = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
                on_frame(last)
    is_over = response.status_code == 204 or b'"end"' in last
    return "ended" if is_over else "job_deleted" if b'"job_deleted"' in last else "broken"


async def blocks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the server-sent events of a response, each as its lines."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n\n")
        for block in whole:
            yield block


async def polling(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """GET /jobs/{id}/events, polled."""
    was_there = False
    async with httpx.AsyncClient(
        base_url=f"{url}/api/v1/jobs/{job_id}", timeout=PATIENCE_SECONDS, verify=TLS
    ) as http:
        while True:
            response = await http.get(f"/events?limit=1000&after={after}")
            if response.is_error:
                code = await _refused(response)
                return "job_deleted" if was_there and code == "job_not_found" else code
            was_there = True
            events = msgspec.json.decode(response.content, type=_Events).items
            for event in events:
                on_frame(bytes(event))
            after += len(events)
            job = (await http.get("")).json()
            if job.get("finished_at") and job["event_seq"] == after:
                return "ended"
            await asyncio.sleep(0.02)


async def python(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """The blocking Python client, in a thread."""

    def watch() -> str:
        with Client(url) as client, client.watch(job_id, after, patience=PATIENCE_SECONDS) as frames:
            try:
                for _ in frames:
                    loop.call_soon_threadsafe(on_frame, frames.raw)
            except WatchRefusedError as error:
                return error.code
            return "ended"

    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(watch)


async def python_async(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """The asynchronous Python client."""
    async with AsyncClient(url) as client, client.watch(job_id, after, patience=PATIENCE_SECONDS) as frames:
        try:
            async for _ in frames:
                on_frame(frames.raw)
        except WatchRefusedError as error:
            return error.code
        return "ended"


async def typescript_socket(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """The TypeScript client, over the WebSocket of Node."""
    return await node_watch("socket", url, job_id, after, on_frame)


async def typescript_events(url: str, job_id: str, after: int, on_frame: OnFrame) -> str:
    """The TypeScript client, over fetch."""
    return await node_watch("events", url, job_id, after, on_frame)


TRANSPORTS: Final[tuple[Watcher, ...]] = (socket, server_events, polling)
STREAMS: Final[tuple[Watcher, ...]] = (socket, server_events)
PYTHON: Final[tuple[Watcher, ...]] = (python, python_async)
TYPESCRIPT: Final[tuple[Watcher, ...]] = (typescript_socket, typescript_events)
CLIENTS: Final = (*PYTHON, *TYPESCRIPT)
EVERY_WATCHER: Final = (*TRANSPORTS, *CLIENTS)


def watched_by(*watchers: Watcher) -> pytest.MarkDecorator:
    """Run the test once with each watcher, as `watcher`."""
    cases = [
        pytest.param(watcher, id=watcher.__name__, marks=needs_node if watcher in TYPESCRIPT else ())
        for watcher in watchers
    ]
    return pytest.mark.parametrize("watcher", cases)


async def watched(watcher: Watcher, url: str, job_id: str, after: int = 0) -> WatchResult:
    """Run the watcher to its end."""
    seen = WatchResult()
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen.end_reason = await watcher(url, job_id, after, seen.frames.append)
    return seen


class BackgroundWatch:
    """A watcher that runs in the background of a test."""

    def __init__(self, watcher: Watcher, url: str, job_id: str) -> None:
        self._result = WatchResult()
        self._began = asyncio.Event()
        self._task = asyncio.create_task(watcher(url, job_id, 0, self._on_frame))

    async def until_first_event(self) -> None:
        """Wait until the watcher has received an event, and so is connected."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._began.wait()

    async def result(self) -> WatchResult:
        """Wait until the watcher ends, and return its result."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            self._result.end_reason = await self._task
        return self._result

    def _on_frame(self, frame: bytes) -> None:
        self._result.frames.append(frame)
        if b'"seq"' in frame:
            self._began.set()


class _Events(Struct):
    items: list[msgspec.Raw]


async def _refused(response: httpx.Response) -> str:
    problem = msgspec.json.decode(await response.aread(), type=dict[str, Any])
    # An id that is not a UUID is an unknown path, whose code differs from that of an unknown job.
    return "job_not_found" if response.status_code == 404 else str(problem["code"])
