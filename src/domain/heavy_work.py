"""Keeps work that takes milliseconds from blocking the event loop: it takes turns, or runs in a thread."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

TURN_CHARS: Final = 1 << 16
"""About as many characters of JSON are encoded or decoded in one turn."""


class HeavyWork:
    """The turns and the thread that all requests of a process share.

    In each turn of the event loop one request does a piece of its heavy work, however many have some.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        # Python code in one thread delays the loop by a few milliseconds; many threads would delay it by as
        # many times that.
        self._thread = ThreadPoolExecutor(1, "heavy-work")

    async def take_turn(self) -> None:
        """Wait until it is the caller's turn to work for some milliseconds."""
        async with self._turn:
            await asyncio.sleep(0)

    async def run_in_turns(self, work: Generator[None, None, T]) -> T:
        """Run *work*, each piece up to its next `yield` in a turn, and return its value."""
        while True:
            await self.take_turn()
            try:
                next(work)
            except StopIteration as stop:
                value: T = stop.value
                return value

    async def run_in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function that runs Python code, not one long call of a C library, in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def close(self) -> None:
        """End the thread. Calls that wait for it are cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)
