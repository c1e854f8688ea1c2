"""A client of `WS /ws` that works like a dashboard: it shows matching jobs and drops all others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import websockets

from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket


class Board:
    """The jobs that the dashboard shows, and all frames so far."""

    def __init__(self, socket: websockets.ClientConnection, state: str | None) -> None:
        self.socket = socket
        self._state = state
        self.frames: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}

    async def next(self) -> dict[str, Any]:
        """Receive the next frame."""
        frame: dict[str, Any] = msgspec.json.decode(await self.socket.recv())
        self.frames.append(frame)
        if frame["type"] == "job":
            previous = self.jobs.pop(frame["job_id"], None)
            assert previous is None or previous["head"] <= frame["head"]
            if self._state in (None, frame["state"]):
                self.jobs[frame["job_id"]] = frame
        elif frame["type"] == "job.deleted":
            self.jobs.pop(frame["job_id"], None)
        return frame

    async def until(self, states: dict[str, str]) -> None:
        """Receive frames until exactly these jobs are shown, in these states."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while {job_id: job["state"] for job_id, job in self.jobs.items()} != states:
                await self.next()

    async def until_type(self, kind: str) -> dict[str, Any]:
        """Receive frames until one of that type."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (frame := await self.next())["type"] != kind:
                pass
        return frame


@asynccontextmanager
async def board(api: Api, query: str = "") -> AsyncIterator[Board]:
    """Watch all jobs that match *query*."""
    state = dict(part.split("=") for part in query.split("&") if part).get("state")
    async with open_socket(f"{api.ws}/api/v1/ws?{query}") as socket:
        yield Board(socket, state)
