"""One hot job and its watchers: frames a second with and without batches, and how late a paced event is.

Beside it, on the same kind of server, Litestar's ChannelsPlugin with its Redis pub/sub backend: its messages
have no numbers and cannot be taken up again. The clients are one process on the same cores. At full speed the
source is at most 50 events ahead of what all have heard.
"""

import asyncio
import contextlib
import mmap
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from readers import Reader, Tally, close, connect
from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import (
    Stage,
    arguments,
    free_port,
    on_uvloop,
    percentile,
    processes,
    ready,
    report,
    runs_of,
    stage,
)

from headrace.adapters.event_bus import job_channel

_FLOW: Final = Path(__file__).parents[1] / "flows" / "talk.py"
_IN_FLIGHT: Final = 50
_PACE: Final = 4.0
_SECONDS: Final = 5.0
_PLUGIN_SIGN: Final = b'"pad"'


class Board:
    """Two numbers that the source reads: its wish, and how many events all have heard."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(16))
        file.chmod(0o644)
        self._opened = file.open("r+b")
        self._map = mmap.mmap(self._opened.fileno(), 16)

    def write(self, wish: int, heard: int) -> None:
        struct.pack_into("QQ", self._map, 0, wish, heard)

    def close(self) -> None:
        self._map.close()
        self._opened.close()


def main() -> None:
    wanted = arguments(__doc__, watchers=1_000)
    with stage() as made:
        port, plugin_port = free_port(), free_port()
        with (
            processes(made, ["api", "--port", str(port)], ["worker"], HEADRACE_PIPELINES=str(_FLOW)),
            plugin(made, plugin_port),
        ):
            figures: dict[str, Any] = runs_of(
                lambda: on_uvloop(measure(made, port, plugin_port, wanted.watchers))
            )
    report(f"one hot job, {wanted.watchers:,} watchers", figures, wanted.json)


async def measure(made: Stage, port: int, plugin_port: int, watchers: int) -> dict[str, float]:
    theirs = await plugin_speed(made, plugin_port, watchers)
    theirs_paced = await plugin_pace(made, plugin_port, watchers)
    batched = await speed(made, port, watchers, "&batch=true")
    single = await speed(made, port, watchers, "")
    paced = await pace(made, port, watchers)
    return {
        "ChannelsPlugin: frames/s": theirs["rate"],
        "ChannelsPlugin: p99 ms": theirs["p99"],
        "in batches: frames/s": batched["rate"],
        "in batches: p99 ms": batched["p99"],
        "in batches / ChannelsPlugin": batched["rate"] / theirs["rate"],
        "one by one: frames/s": single["rate"],
        "one by one: p99 ms": single["p99"],
        "one by one / ChannelsPlugin": single["rate"] / theirs["rate"],
        "ChannelsPlugin, paced: p50 ms": theirs_paced["p50"],
        "ChannelsPlugin, paced: p99 ms": theirs_paced["p99"],
        "paced: p50 ms": paced["p50"],
        "paced: p99 ms": paced["p99"],
        "Redis subscriptions": batched["subscriptions"],
    }


async def speed(made: Stage, port: int, watchers: int, query: str) -> dict[str, float]:
    """Frames a second of which none was lost, and how late they were."""
    async with hot_job(made, port, watchers, query, per_second=0.0) as (tally, board, subscriptions):
        rate = await deliver(tally, watchers, lambda heard: board.write(1, heard))
        return {"rate": rate, "p99": percentile(tally.late, 0.99), "subscriptions": subscriptions}


async def pace(made: Stage, port: int, watchers: int) -> dict[str, float]:
    async with hot_job(made, port, watchers, "&batch=true", per_second=_PACE) as (tally, board, _):
        tally.is_timing = True
        board.write(1, 0)
        await asyncio.sleep(_SECONDS)
        return {"p50": percentile(tally.late, 0.5), "p99": percentile(tally.late, 0.99)}


async def plugin_speed(made: Stage, port: int, watchers: int) -> dict[str, float]:
    said, heard, is_over = 0, 0, False

    def hear(count: int) -> None:
        nonlocal heard
        heard = count

    async with plugin_watchers(made, port, watchers) as (tally, redis):

        async def speak() -> None:
            nonlocal said
            while not is_over:
                if said - heard < _IN_FLIGHT:
                    said += 1
                    await redis.publish("hot", _said())
                else:
                    await asyncio.sleep(0.0005)

        speaking = asyncio.create_task(speak())
        try:
            rate = await deliver(tally, watchers, hear)
        finally:
            is_over = True
            await speaking
    return {"rate": rate, "p99": percentile(tally.late, 0.99)}


async def plugin_pace(made: Stage, port: int, watchers: int) -> dict[str, float]:
    async with plugin_watchers(made, port, watchers) as (tally, redis):
        tally.is_timing = True
        for _ in range(int(_PACE * _SECONDS)):
            await redis.publish("hot", _said())
            await asyncio.sleep(1 / _PACE)
    return {"p50": percentile(tally.late, 0.5), "p99": percentile(tally.late, 0.99)}


@asynccontextmanager
async def plugin_watchers(made: Stage, port: int, watchers: int) -> AsyncIterator[tuple[Tally, Redis]]:
    """The plugin's watchers, and a way to publish to them."""
    tally = Tally(_PLUGIN_SIGN)
    readers = await connect(port, ["/ws/hot"] * watchers, lambda path: Reader(path, tally.take))
    redis = Redis.from_url(made.redis_url)
    try:
        yield tally, redis
    finally:
        close(readers)
        await redis.aclose()


def _said() -> str:
    """A message as long as an event."""
    return f'{{"type":"log","at":"@{time.monotonic_ns():020d}","pad":"{"x" * 230}"}}'


async def deliver(tally: Tally, watchers: int, hear: Callable[[int], Any]) -> float:
    """Let it run for some seconds, telling the source what all have heard; the frames a second."""
    hear(0)
    await asyncio.sleep(1)
    before, began = tally.frames, time.monotonic()
    tally.is_timing = True
    while time.monotonic() - began < _SECONDS:
        hear(tally.frames // watchers)
        await asyncio.sleep(0.0005)
    return (tally.frames - before) / (time.monotonic() - began)


@asynccontextmanager
async def hot_job(
    made: Stage, port: int, watchers: int, query: str, *, per_second: float
) -> AsyncIterator[tuple[Tally, Board, float]]:
    """A job that waits for a sign, with all its watchers there; and how many subscriptions Redis counts."""
    file = made.folder / "board"
    board = Board(file)
    tally = Tally(b'"type":"log"')
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await ready(client)
            params = {"board": str(file), "in_flight": _IN_FLIGHT, "per_second": per_second}
            answer = await client.post("/api/v1/jobs", json={"pipeline": "hot", "params": params})
            answer.raise_for_status()
            job = answer.json()["id"]
            readers = await connect(
                port,
                [f"/api/v1/jobs/{job}/ws?after=0{query}"] * watchers,
                lambda path: Reader(path, tally.take),
            )
            # What was before is theirs by then.
            await asyncio.sleep(1)
            redis = Redis.from_url(made.redis_url)
            ((_, subscriptions),) = await redis.pubsub_numsub(job_channel(job))
            await redis.aclose()
            try:
                yield tally, board, float(subscriptions)
            finally:
                board.write(2, 0)
                close(readers)
                await _finished(client, job)
    finally:
        board.close()


async def _finished(client: httpx.AsyncClient, job: str) -> None:
    for _ in range(300):
        if (await client.get(f"/api/v1/jobs/{job}")).json()["state"] in ("succeeded", "failed"):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(job)


@contextmanager
def plugin(made: Stage, port: int) -> Iterator[None]:
    environment = os.environ | {"PORT": str(port), "REDIS": made.redis_url}
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("plugin.py")], env=environment)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
