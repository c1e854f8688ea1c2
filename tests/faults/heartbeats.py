"""Keeps the heartbeats of workers from being written, while their other writes pass."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def held_heartbeats(url: str) -> AsyncIterator[None]:
    """Lock the rows of the present workers, which only their heartbeats write, for the block."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            assert await connection.fetch("SELECT FROM workers FOR UPDATE")
            yield
    finally:
        await connection.close()
