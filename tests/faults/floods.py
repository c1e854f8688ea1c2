"""Attackers that flood an API from many connections, in processes of their own at the lowest priority.

Run as a program: `python floods.py KIND HOST PORT JOB CONNECTIONS SECONDS`. It ends by itself.
"""

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Final

_PAUSE_SECONDS: Final = 0.01
_READ_BYTES: Final = 65_536
_HANDSHAKE: Final = (
    "GET /api/v1/jobs/{job}/ws{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_PONG: Final = struct.pack("!BB", 0x8A, 0x84) + bytes(4) + b"pong"
_TEXT: Final = struct.pack("!BB", 0x81, 0x82) + bytes(4) + b"{}"
_DEAR_BODY: Final = b"[" + b",".join([b"1e308"] * 40_000) + b"]"
_JSON: Final = b"Host: localhost\r\nContent-Type: application/json\r\n"


class Target:
    """The API that is attacked, and a job there."""

    def __init__(self, host: str, port: int, job: str) -> None:
        self._host = host
        self._port = port
        self._job = job

    async def send(self, data: bytes, *, then_wait_seconds: float = 0.0) -> None:
        """Send *data* on a new connection and read until the API ends it, or for a while."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(data)
            async with asyncio.timeout(5 + then_wait_seconds):
                if then_wait_seconds:
                    await asyncio.sleep(then_wait_seconds)
                await writer.drain()
                while await reader.read(_READ_BYTES):
                    pass
        finally:
            writer.transport.abort()

    def handshake(self, query: str = "") -> bytes:
        return _HANDSHAKE.format(job=self._job, query=query).encode()

    async def pongs_of_strangers(self) -> None:
        await self.send(self.handshake("?token=forged") + _PONG * 200_000)

    async def pongs(self) -> None:
        await self.send(self.handshake() + _PONG * 200_000)

    async def messages(self) -> None:
        await self.send(self.handshake() + _TEXT * 200_000)

    async def dear_numbers(self) -> None:
        head = b"POST /api/v1/jobs HTTP/1.1\r\n" + _JSON + b"Content-Length: %d\r\n\r\n" % len(_DEAR_BODY)
        await self.send(head + _DEAR_BODY)

    async def dear_numbers_of_strangers(self) -> None:
        head = b"POST /auth/refresh HTTP/1.1\r\n" + _JSON + b"Content-Length: %d\r\n\r\n" % len(_DEAR_BODY)
        await self.send(head + _DEAR_BODY)

    async def half_heads(self) -> None:
        await self.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ", then_wait_seconds=20)

    async def pipelines(self) -> None:
        await self.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)

    async def unknown_paths_of_health(self) -> None:
        await self.send(b"GET /health/nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)

    async def searches(self) -> None:
        query = "/api/v1/jobs?search=nothing&limit=1"
        await self.send(f"GET {query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    async def cancels(self) -> None:
        head = f"POST /api/v1/jobs/{self._job}/cancel HTTP/1.1\r\n".encode()
        await self.send(head + _JSON + b"Connection: close\r\nContent-Length: 0\r\n\r\n")

    async def streams(self) -> None:
        path = f"/api/v1/jobs/{self._job}/stream"
        await self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


KINDS: Final[dict[str, Callable[[Target], Awaitable[None]]]] = {
    attack.__name__: attack
    for attack in (
        Target.pongs_of_strangers,
        Target.pongs,
        Target.messages,
        Target.dear_numbers,
        Target.dear_numbers_of_strangers,
        Target.half_heads,
        Target.pipelines,
        Target.unknown_paths_of_health,
        Target.searches,
        Target.cancels,
        Target.streams,
    )
}


async def flood(target: Target, kind: str, connections: int, seconds: float) -> None:
    """Attack from *connections* connections at once, again and again, for *seconds*."""

    async def attack_again_and_again() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                await KINDS[kind](target)
            await asyncio.sleep(_PAUSE_SECONDS)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(attack_again_and_again() for _ in range(connections)))


if __name__ == "__main__":
    os.nice(19)
    kind, host, port, job, connections, seconds = sys.argv[1:]
    asyncio.run(flood(Target(host, int(port), job), kind, int(connections), float(seconds)))
