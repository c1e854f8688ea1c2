"""Waiting for the first of several things, without a task for each."""

import asyncio
from collections.abc import Callable
from typing import Any


class StopSignal:
    """Is set once and stays set; those who listen are called then."""

    def __init__(self) -> None:
        self.is_set = False
        self._listeners: list[Callable[[], None]] = []

    def set(self) -> None:
        self.is_set = True
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)


async def first_of(
    *futures: asyncio.Future[Any], stop: StopSignal | None = None, seconds: float | None = None
) -> None:
    """Return once one of *futures* is done, *stop* is set or the time is over, whichever is first."""
    if (stop is not None and stop.is_set) or any(future.done() for future in futures):
        return
    loop = asyncio.get_running_loop()
    turn: asyncio.Future[None] = loop.create_future()

    def wake(_done: object = None) -> None:
        if not turn.done():
            turn.set_result(None)

    timer = None if seconds is None else loop.call_later(max(0.0, seconds), wake)
    for future in futures:
        future.add_done_callback(wake)
    if stop is not None:
        stop.listen(wake)
    try:
        await turn
    finally:
        if timer is not None:
            timer.cancel()
        for future in futures:
            future.remove_done_callback(wake)
        if stop is not None:
            stop.forget(wake)
