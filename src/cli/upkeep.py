"""Servers of our own that end by themselves are started again, where their clients expect them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from headrace.adapters.servers import EmbeddedServer, Servers
from headrace.cli.managed_process import Say

_LOOK_SECONDS: Final = 0.2
_LONGEST_PAUSE: Final = 10.0


@asynccontextmanager
async def kept_alive(servers: Servers, say: Say) -> AsyncIterator[None]:
    """Keep *servers* running for the block; *say* is told of each end and each start."""
    done = asyncio.Event()
    keeping = asyncio.create_task(_keep(servers.all(), say, done))
    try:
        yield
    finally:
        done.set()
        # A start that is under way cannot be broken off; it is bounded by itself.
        await keeping


async def _keep(servers: list[EmbeddedServer], say: Say, done: asyncio.Event) -> None:
    pause = _LOOK_SECONDS
    while not done.is_set():
        are_well = [await _look_after(server, say) for server in servers]
        pause = _LOOK_SECONDS if all(are_well) else min(pause * 2, _LONGEST_PAUSE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), pause)


async def _look_after(server: EmbeddedServer, say: Say) -> bool:
    """Start it again if it has ended; False where it does not start."""
    if server.is_alive():
        return True
    say(server.label, "ended (nobody told it to): it starts again")
    try:
        await asyncio.to_thread(server.restart)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is said, and tried again)
        say(server.label, f"[error] {error}")
        return False
    say(server.label, "answers again")
    return True
