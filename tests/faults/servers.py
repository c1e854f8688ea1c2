"""Stop and start the PostgreSQL and the Redis of a single test."""

import asyncio
import shutil
import signal
from contextlib import suppress

from headrace.adapters.servers import EmbeddedServer
from headrace.domain.database import TRANSIENT, Database
from support.patience import until


async def stop(server: EmbeddedServer, number: signal.Signals) -> None:
    """Send the signal to *server*, and wait until it has ended."""
    server.running.process.send(number)
    await until(lambda: not server.is_alive(), lambda: f"{server.label} does not end")


async def start(server: EmbeddedServer) -> None:
    """Start *server* again, at the same address."""
    await asyncio.to_thread(server.restart)


async def terminate_sessions(database: Database) -> None:
    """Terminate all sessions of the database but the one that does it."""
    with suppress(*TRANSIENT):
        await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def stop_forgetting(redis: EmbeddedServer) -> None:
    """Kill *redis* and remove its stored data."""
    await stop(redis, signal.SIGKILL)
    shutil.rmtree(redis.home.path / "appendonlydir")
