"""Makes the commits of a PostgreSQL slow, without a slow disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from support.patience import until_async

_AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@asynccontextmanager
async def slow_flushes(url: str, seconds: float) -> AsyncIterator[None]:
    """Let each commit hold its locks for up to *seconds*: it waits for a standby that does not exist.

    PostgreSQL may be restarted meanwhile.
    """

    async def alternate() -> None:
        while True:
            for standby, pause in (("nobody", seconds), ("", 0.05)):
                with suppress(*_AWAY):
                    await _wait_for_standby(url, standby)
                await asyncio.sleep(pause)

    alternating = asyncio.create_task(alternate())
    try:
        yield
        assert not alternating.done(), alternating.exception()
    finally:
        alternating.cancel()
        await asyncio.wait([alternating])
        await until_async(lambda: _is_reset(url), lambda: "commits still wait")


async def _is_reset(url: str) -> bool:
    with suppress(*_AWAY):
        await _wait_for_standby(url, "")
        return True
    return False


async def _wait_for_standby(url: str, standby: str) -> None:
    # A connection of its own each time: a test may cut or restart what an open one depends on.
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        connection.terminate()
