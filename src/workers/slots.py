"""Counts the processes, or the threads, that the steps of a worker may run in at once."""

import asyncio
from collections import deque
from collections.abc import Callable

_Waiter = asyncio.Future[None]


class Slots:
    """The slots of one kind that the attempts of a worker share.

    A free slot goes first to an attempt that has none, then to a job from the queue, and only then to an
    attempt that wants one more: the items of one job do not keep other jobs waiting.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self.offer: Callable[[], bool] | None = None
        """Offers a free slot to the queue; returns whether `serve_more` will be called after a claim."""
        self._first: deque[_Waiter] = deque()
        self._more: deque[_Waiter] = deque()

    def take(self, limit: int) -> int:
        """Take up to *limit* free slots without waiting; return how many."""
        count = max(min(limit, self.free), 0)
        self.free -= count
        return count

    def give_back(self, count: int = 1) -> None:
        """Give back slots that were taken."""
        self.free += count
        self._serve(self._first)
        if self.free > 0 and self._more and not (self.offer is not None and self.offer()):
            self._serve(self._more)

    def serve_more(self) -> None:
        """Give the free slots that no job has claimed to attempts that have one already."""
        self._serve(self._more)

    def request(self, *, has_one: bool) -> _Waiter:
        """Return a future that is done once it has a slot. *has_one*: the attempt has another one."""
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        if self.free > 0 and not self._first and not (has_one and self._more):
            self.free -= 1
            waiter.set_result(None)
        else:
            (self._more if has_one else self._first).append(waiter)
        return waiter

    def _serve(self, waiters: deque[_Waiter]) -> None:
        while waiters and self.free > 0:
            waiter = waiters.popleft()
            if not waiter.done():
                self.free -= 1
                waiter.set_result(None)


class AttemptSlots:
    """The slots of one attempt.

    The attempt keeps its last slot from one step to the next, so that a job that has begun to run does not
    queue again for each of its steps. `release_unused` gives it up.
    """

    def __init__(self, slots: Slots, *, claimed: int) -> None:
        """*claimed*: the number of *slots* that were taken for the attempt with its claim."""
        self._slots = slots
        self._unused = claimed
        self._used = 0
        self._waiters: list[_Waiter] = []

    async def acquire(self) -> None:
        """Take a slot for a step; wait until the attempt has one that no other step uses."""
        if self._unused:
            self._unused -= 1
        else:
            has_one = self._used > 0 or bool(self._waiters)
            waiter = self._slots.request(has_one=has_one)
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._used += 1
                    self.release()
                raise
            finally:
                self._waiters.remove(waiter)
        self._used += 1

    def release(self) -> None:
        """Give back the slot of a step: to another step of the attempt if it is its last one."""
        self._used -= 1
        if self._used or self._unused:
            self._slots.give_back()
        elif (waiter := next((waiter for waiter in self._waiters if not waiter.done()), None)) is not None:
            waiter.set_result(None)
        else:
            self._unused = 1

    def release_unused(self) -> None:
        """Give back the slot that the attempt keeps without a step that uses it."""
        unused, self._unused = self._unused, 0
        if unused:
            self._slots.give_back(unused)
