"""Counts the processes that a worker's steps may run in at once."""

import asyncio
from collections import deque
from collections.abc import Callable


class ProcessSlots:
    """The process slots of a worker.

    A free slot goes first to an attempt that has none, then to a job from the queue, and only then to an
    attempt that wants one more: the items of one job do not keep other jobs waiting.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self.offer: Callable[[], bool] | None = None
        """Offers a free slot to the queue; returns whether `serve_more` will be called after a claim."""
        self._first: deque[asyncio.Future[None]] = deque()
        self._more: deque[asyncio.Future[None]] = deque()

    def take(self, limit: int) -> int:
        """Take up to *limit* free slots without waiting; return how many."""
        count = max(min(limit, self.free), 0)
        self.free -= count
        return count

    def give_back(self, count: int = 1) -> None:
        """Give slots back that `take` or `acquire` returned."""
        self.free += count
        self._serve(self._first)
        if self.free > 0 and self._more and not (self.offer is not None and self.offer()):
            self._serve(self._more)

    def serve_more(self) -> None:
        """Give the free slots that no job has claimed to attempts that have one already."""
        self._serve(self._more)

    async def acquire(self, *, has_one: bool) -> None:
        """Take a slot, and wait for one if none is free. *has_one*: the attempt holds another one."""
        if self.free > 0 and not self._first and not (has_one and self._more):
            self.free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._more if has_one else self._first).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back()
            raise

    def _serve(self, waiters: "deque[asyncio.Future[None]]") -> None:
        while waiters and self.free > 0:
            waiter = waiters.popleft()
            if not waiter.done():
                self.free -= 1
                waiter.set_result(None)


class AttemptSlots:
    """The process slots of one attempt. *reserved*: the number that its claim has taken for it."""

    def __init__(self, slots: ProcessSlots, reserved: int) -> None:
        self._slots = slots
        self._reserved = reserved
        self._held = 0

    async def acquire(self) -> None:
        """Use the reserved slot, or wait for another one."""
        if self._reserved:
            self._reserved -= 1
        else:
            await self._slots.acquire(has_one=self._held > 0)
        self._held += 1

    def release(self) -> None:
        """Give a slot back that a step has used."""
        self._held -= 1
        self._slots.give_back()

    def release_reserved(self) -> None:
        """Give the reserved slot back, if no step has used it."""
        reserved, self._reserved = self._reserved, 0
        if reserved:
            self._slots.give_back(reserved)
