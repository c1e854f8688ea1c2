"""What a test does to the PostgreSQL and the Redis that are its own."""

import asyncio
import shutil
import signal

from faults.processes import until
from headrace.adapters.servers import EmbeddedServer


async def stop(server: EmbeddedServer, number: signal.Signals) -> None:
    """End it by that signal, and see it gone."""
    server.running.process.send(number)
    await until(lambda: not server.is_alive(), lambda: f"{server.label} does not end")


async def start(server: EmbeddedServer) -> None:
    """Start it where it was."""
    await asyncio.to_thread(server.restart)


async def stop_forgetting(redis: EmbeddedServer) -> None:
    """Kill it and remove everything that it has written."""
    await stop(redis, signal.SIGKILL)
    shutil.rmtree(redis.home.path / "appendonlydir")
