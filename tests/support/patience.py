"""How long tests wait for what must happen, and how they poll for it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Final

import websockets

from support.machine import SLOWNESS

PATIENCE_SECONDS: Final = 120 * SLOWNESS
"""The limit of a wait for what must happen: it only ends a test that hangs.

It is longer than any stall of a shared machine, and shorter than `TEST_SECONDS`.
"""

TEST_SECONDS: Final = 400 * SLOWNESS
"""The time after which pytest ends a test."""

STALL_SECONDS: Final = 25.0 * SLOWNESS
"""What a stall of a shared machine may add to a time that the service promises."""

open_socket = functools.partial(
    websockets.connect, open_timeout=PATIENCE_SECONDS, ping_timeout=PATIENCE_SECONDS
)


async def until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    """Poll until *condition* holds; *explain* adds a text to the error of a test that hangs."""

    async def check() -> bool:
        return condition()

    await until_async(check, explain)


async def until_async(
    condition: Callable[[], Awaitable[bool]],
    explain: Callable[[], str] = str,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Poll as `until` does, for an asynchronous condition."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"waited for {seconds} s: {explain()}") from error
