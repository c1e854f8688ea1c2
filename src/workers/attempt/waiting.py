"""Waits for the first of several futures, a stop signal or a timeout, without a task for each."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any


class StopSignal:
    """A flag that is set once. It calls back, so that waiting for it needs no task of its own.

    *deadline*: the time of the event loop's clock, which is the monotonic one, by which everything that it
    stops must have ended. Set it before `set`, which may be called again for that.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.deadline: float | None = None
        self._callbacks: list[Callable[[], None]] = []

    def set(self) -> None:
        self.is_set = True
        for callback in tuple(self._callbacks):
            callback()

    def add_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.remove(callback)


async def wait_first(
    *futures: asyncio.Future[Any], stop: StopSignal | None = None, seconds: float | None = None
) -> None:
    """Return when one of *futures* is done, *stop* is set or *seconds* have passed, whichever comes first."""
    if (stop is not None and stop.is_set) or any(future.done() for future in futures):
        return
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_done: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    timer = None if seconds is None else loop.call_later(max(0.0, seconds), wake)
    for future in futures:
        future.add_done_callback(wake)
    if stop is not None:
        stop.add_callback(wake)
    try:
        await woken
    finally:
        if timer is not None:
            timer.cancel()
        for future in futures:
            future.remove_done_callback(wake)
        if stop is not None:
            stop.remove_callback(wake)


async def wait_for_end(future: asyncio.Future[Any], stop: StopSignal, seconds: float) -> None:
    """Wait for *future*, at most *seconds*, and not beyond the deadline of *stop*, which may be set later."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    has_changed: asyncio.Future[None] = loop.create_future()

    def on_stop() -> None:
        if not has_changed.done():
            has_changed.set_result(None)

    stop.add_callback(on_stop)
    try:
        while not future.done():
            left = min(ends_at, inf if stop.deadline is None else stop.deadline) - loop.time()
            if left <= 0:
                return
            await wait_first(future, has_changed, seconds=left)
            if has_changed.done():
                has_changed = loop.create_future()
    finally:
        stop.remove_callback(on_stop)
