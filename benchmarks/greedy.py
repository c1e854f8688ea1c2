"""One greedy user: asks an API for everything that is dear, over many connections, at the lowest priority.

Run as a program: `python greedy.py KIND PORT CONNECTIONS SECONDS`, with the ids of jobs as its input.
"""

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec

USER: Final = "mallory"
_QUERY: Final = msgspec.json.encode(
    {
        "query": '{ found: jobs(filters: {search: "nothing"}) { id }'
        " jobs(limit: 100, offset: 10000) { id meta tags { name } steps { name state } files { name } } }"
    }
)
_BATCH: Final = msgspec.json.encode(
    {"jobs": [{"pipeline": "noop", "params": {}, "run_at": "2100-01-01T00:00:00Z"}] * 250}
)
_READ_BYTES: Final = 65_536
_RESPONSE_SECONDS: Final = 60.0

Request = tuple[str, str, bytes]


def _requests(kind: str, jobs: Iterator[str]) -> Iterator[Request]:
    while True:
        match kind:
            case "searches":
                yield "GET", "/api/v1/jobs?search=nothing&limit=1", b""
            case "pages":
                yield "GET", "/api/v1/jobs?offset=10000&limit=100&order_by=priority", b""
            case "graphql":
                yield "POST", "/graphql", _QUERY
            case "cancels":
                job = next(jobs)
                yield "POST", f"/api/v1/jobs/{job}/cancel", b""
                yield "DELETE", f"/api/v1/jobs/{job}", b""
            case "batches":
                yield "POST", "/api/v1/jobs/batch", _BATCH
            case _:
                yield "GET", f"/api/v1/jobs/{next(jobs)}/stream", b""


KINDS: Final = ("searches", "pages", "graphql", "cancels", "streams", "batches")


async def _send(port: int, requests: Iterator[Request], end: float) -> None:
    """Send requests over one connection, and over another one whenever that ends."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while time.monotonic() < end:
                    async with asyncio.timeout(_RESPONSE_SECONDS):
                        await _exchange(reader, writer, *next(requests))
            finally:
                writer.transport.abort()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
) -> None:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Preferred-Username: {USER}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    _, _, rest = answer.lower().partition(b"content-length:")
    if not rest:
        # The first bytes of a stream are its dearest; the next stream needs a connection of its own.
        await reader.read(_READ_BYTES)
        raise ConnectionResetError
    await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))


async def main(kind: str, port: int, connections: int, seconds: float) -> None:
    requests = _requests(kind, itertools.cycle(sys.stdin.read().split()))
    end = time.monotonic() + seconds
    await asyncio.gather(*(_send(port, requests, end) for _ in range(connections)))


if __name__ == "__main__":
    os.nice(19)
    kind, port, connections, seconds = sys.argv[1:]
    asyncio.run(main(kind, int(port), int(connections), float(seconds)))
