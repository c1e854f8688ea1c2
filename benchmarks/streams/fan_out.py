"""Measures one hot job with many watchers: frames per second, with and without batches, and delays.

The baseline is Litestar's ChannelsPlugin with Redis pub/sub on the same kind of server; its messages have no
numbers and cannot be resumed. All clients are one process on the same cores. At full speed the source is at
most 50 events ahead of the slowest client.
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
    BenchEnv,
    arguments,
    bench_environment,
    free_port,
    on_uvloop,
    percentile,
    processes,
    ready,
    report,
    runs_of,
)

from headrace.adapters.listeners import job_channel

_FLOW: Final = Path(__file__).parents[1] / "flows" / "talk.py"
_IN_FLIGHT: Final = 50
_EVENTS_PER_SECOND: Final = 4.0
_SECONDS: Final = 5.0
_PLUGIN_MARK: Final = b'"pad"'


class Board:
    """The file that the source reads: a command, and how many events all clients got."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(16))
        file.chmod(0o644)
        self._opened = file.open("r+b")
        self._map = mmap.mmap(self._opened.fileno(), 16)

    def write(self, command: int, received: int) -> None:
        struct.pack_into("QQ", self._map, 0, command, received)

    def close(self) -> None:
        self._map.close()
        self._opened.close()


def main() -> None:
    options = arguments(__doc__, watchers=1_000)
    with bench_environment() as env:
        port, plugin_port = free_port(), free_port()
        with (
            processes(env, ["api", "--port", str(port)], ["worker"], HEADRACE_PIPELINES=str(_FLOW)),
            plugin(env, plugin_port),
        ):
            figures: dict[str, Any] = runs_of(
                lambda: on_uvloop(measure(env, port, plugin_port, options.watchers))
            )
    report(f"one hot job, {options.watchers:,} watchers", figures, options.json)


async def measure(env: BenchEnv, port: int, plugin_port: int, watchers: int) -> dict[str, float]:
    plugin_full = await plugin_speed(env, plugin_port, watchers)
    plugin_paced = await plugin_pace(env, plugin_port, watchers)
    batched = await speed(env, port, watchers, "&batch=true")
    single = await speed(env, port, watchers, "")
    paced = await pace(env, port, watchers)
    return {
        "ChannelsPlugin: frames/s": plugin_full["rate"],
        "ChannelsPlugin: p99 ms": plugin_full["p99"],
        "in batches: frames/s": batched["rate"],
        "in batches: p99 ms": batched["p99"],
        "in batches / ChannelsPlugin": batched["rate"] / plugin_full["rate"],
        "one by one: frames/s": single["rate"],
        "one by one: p99 ms": single["p99"],
        "one by one / ChannelsPlugin": single["rate"] / plugin_full["rate"],
        "ChannelsPlugin, paced: p50 ms": plugin_paced["p50"],
        "ChannelsPlugin, paced: p99 ms": plugin_paced["p99"],
        "paced: p50 ms": paced["p50"],
        "paced: p99 ms": paced["p99"],
        "Redis subscriptions": batched["subscriptions"],
    }


async def speed(env: BenchEnv, port: int, watchers: int, query: str) -> dict[str, float]:
    """Measure frames per second without loss, and their delay."""
    async with hot_job(env, port, watchers, query, per_second=0.0) as (tally, board, subscriptions):
        rate = await deliver(tally, watchers, lambda received: board.write(1, received))
        return {"rate": rate, "p99": percentile(tally.late, 0.99), "subscriptions": subscriptions}


async def pace(env: BenchEnv, port: int, watchers: int) -> dict[str, float]:
    async with hot_job(env, port, watchers, "&batch=true", per_second=_EVENTS_PER_SECOND) as (
        tally,
        board,
        _,
    ):
        tally.is_timing = True
        board.write(1, 0)
        await asyncio.sleep(_SECONDS)
        return {"p50": percentile(tally.late, 0.5), "p99": percentile(tally.late, 0.99)}


async def plugin_speed(env: BenchEnv, port: int, watchers: int) -> dict[str, float]:
    sent, received, is_over = 0, 0, False

    def on_received(count: int) -> None:
        nonlocal received
        received = count

    async with plugin_watchers(env, port, watchers) as (tally, redis):

        async def send() -> None:
            nonlocal sent
            while not is_over:
                if sent - received < _IN_FLIGHT:
                    sent += 1
                    await redis.publish("hot", _message())
                else:
                    await asyncio.sleep(0.0005)

        sending = asyncio.create_task(send())
        try:
            rate = await deliver(tally, watchers, on_received)
        finally:
            is_over = True
            await sending
    return {"rate": rate, "p99": percentile(tally.late, 0.99)}


async def plugin_pace(env: BenchEnv, port: int, watchers: int) -> dict[str, float]:
    async with plugin_watchers(env, port, watchers) as (tally, redis):
        tally.is_timing = True
        for _ in range(int(_EVENTS_PER_SECOND * _SECONDS)):
            await redis.publish("hot", _message())
            await asyncio.sleep(1 / _EVENTS_PER_SECOND)
    return {"p50": percentile(tally.late, 0.5), "p99": percentile(tally.late, 0.99)}


@asynccontextmanager
async def plugin_watchers(env: BenchEnv, port: int, watchers: int) -> AsyncIterator[tuple[Tally, Redis]]:
    """Connect the plugin's watchers; yield their tally and a Redis client to publish with."""
    tally = Tally(_PLUGIN_MARK)
    readers = await connect(port, ["/ws/hot"] * watchers, lambda path: Reader(path, tally.take))
    redis = Redis.from_url(env.redis_url)
    try:
        yield tally, redis
    finally:
        close(readers)
        await redis.aclose()


def _message() -> str:
    """Return a message as long as an event."""
    return f'{{"type":"log","at":"@{time.monotonic_ns():020d}","pad":"{"x" * 230}"}}'


async def deliver(tally: Tally, watchers: int, on_received: Callable[[int], Any]) -> float:
    """Report the clients' progress to the source for some seconds; return the frames per second."""
    on_received(0)
    await asyncio.sleep(1)
    before, began = tally.frames, time.monotonic()
    tally.is_timing = True
    while time.monotonic() - began < _SECONDS:
        on_received(tally.frames // watchers)
        await asyncio.sleep(0.0005)
    return (tally.frames - before) / (time.monotonic() - began)


@asynccontextmanager
async def hot_job(
    env: BenchEnv, port: int, watchers: int, query: str, *, per_second: float
) -> AsyncIterator[tuple[Tally, Board, float]]:
    """Start a job that waits for the board, with its watchers; also yield the count of subscriptions."""
    file = env.folder / "board"
    board = Board(file)
    tally = Tally(b'"type":"log"')
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await ready(client)
            params = {"board": str(file), "in_flight": _IN_FLIGHT, "per_second": per_second}
            response = await client.post("/api/v1/jobs", json={"pipeline": "hot", "params": params})
            response.raise_for_status()
            job = response.json()["id"]
            readers = await connect(
                port,
                [f"/api/v1/jobs/{job}/ws?after=0{query}"] * watchers,
                lambda path: Reader(path, tally.take),
            )
            # By then the watchers have received the job's first events.
            await asyncio.sleep(1)
            redis = Redis.from_url(env.redis_url)
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
def plugin(env: BenchEnv, port: int) -> Iterator[None]:
    environment = os.environ | {"PORT": str(port), "REDIS": env.redis_url}
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
