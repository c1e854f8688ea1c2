"""Counts the processes that a worker's steps may run in at once."""

import asyncio
from collections import deque


class ProcessSlots:
    """The process slots of a worker. A job that begins with such a step reserves one when it is claimed."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiters: deque[asyncio.Future[None]] = deque()

    def reserve(self, count: int) -> "Reservation":
        """Take *count* slots (0 or 1) now. The caller claims no more such jobs than slots are free."""
        self.free -= count
        return Reservation(self, count)

    async def acquire(self) -> None:
        """Take a slot, and wait for one if none is free. Whoever waits longest is served first."""
        if self.free > 0 and not self._waiters:
            self.free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, to the one that waits longest."""
        self.free += 1
        while self._waiters and self.free > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.free -= 1
                waiter.set_result(None)


class Reservation:
    """The slot that one attempt has reserved, or none. Its first step in a process uses it."""

    def __init__(self, slots: ProcessSlots, count: int) -> None:
        self._slots = slots
        self._count = count

    async def acquire(self) -> None:
        """Take the reserved slot, or wait for another one. It is given back with `ProcessSlots.release`."""
        if self._count:
            self._count = 0
        else:
            await self._slots.acquire()

    def release(self) -> None:
        """Give the slot back, if no step has used it."""
        if self._count:
            self._count = 0
            self._slots.release()
