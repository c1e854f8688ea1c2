"""Keeps work that takes milliseconds from blocking the event loop: it takes turns, or runs in a thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

T = TypeVar("T")

TURN_CHARS: Final = 1 << 16
"""About as many characters of JSON are encoded or decoded in one turn."""


class HeavyWork:
    """The turns and the thread that all requests of a process share.

    In each turn of the event loop one request does a piece of its heavy work, however many have some.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        # The loop of the thread. Python code in one thread delays the loop of the process by a few
        # milliseconds; many threads would delay it by as many times that.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = asyncio.Event()

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

        async def call() -> T:
            return function(*arguments)

        return await self.run_coroutine_in_thread(call())

    async def run_coroutine_in_thread(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of such code in the thread, where it takes turns with others at each wait."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._started_loop()))

    def close(self) -> None:
        """End the thread. Calls that wait for it are cancelled."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._is_closed.set)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._serve, args=(self._loop,), name="heavy-work", daemon=True).start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._is_closed.wait())
