"""Stop and start the PostgreSQL and the Redis of a single test."""

import asyncio
import shutil
import signal

from faults.processes import until
from headrace.adapters.servers import EmbeddedServer


async def stop(server: EmbeddedServer, number: signal.Signals) -> None:
    """Send the signal to *server*, and wait until it has ended."""
    server.running.process.send(number)
    await until(lambda: not server.is_alive(), lambda: f"{server.label} does not end")


async def start(server: EmbeddedServer) -> None:
    """Start *server* again, at the same address."""
    await asyncio.to_thread(server.restart)


async def stop_forgetting(redis: EmbeddedServer) -> None:
    """Kill *redis* and remove its stored data."""
    await stop(redis, signal.SIGKILL)
    shutil.rmtree(redis.home.path / "appendonlydir")
