"""Shares the turns of the event loop among all connections, so that a health check never waits for long.

A turn is as long as all the callbacks that are ready when it begins. In a flood those are hundreds, so each
kind of work has a budget: what exceeds it waits for the next turn, behind what has waited longer.
"""

import asyncio
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Final, Protocol
from uuid import UUID

from headrace.api.server.health_paths import HealthPaths
from headrace.api.server.user_loads import UserLoads

_HEAD_END: Final = b"\r\n\r\n"
_PARSING_SECONDS: Final = 0.005
_HANDLING_SECONDS: Final = 0.005
_HEALTH_SECONDS: Final = 0.005
_HEALTH_PARSING_SECONDS: Final = 0.002
# While so many requests wait for their turn, the heads of others stay unread in the kernel.
_MAX_WAITING: Final = 64
# Requests of greedy users must not keep others from being read; they only may not fill the memory.
_MAX_GREEDY: Final = 1_000
# A greedy user who is alone for so long is treated as all others.
_ALONE_SECONDS: Final = 1.0
# Others use the loop who have done so within that time: their requests wait for PostgreSQL in between.
_COMPANY_SECONDS: Final = 0.05


class TurnBudget:
    """The time that one kind of work may take in a turn of the event loop, from its first piece on."""

    # So many of those who wait look in each turn whether it is theirs.
    _max_awake = sys.maxsize
    __slots__ = ("_clock", "_ends_at", "_seconds", "waiting")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._seconds = seconds
        self._clock = clock
        self._ends_at: float | None = None
        self.waiting: deque[Any] = deque()

    def is_over(self) -> bool:
        """Return whether the next piece of work must wait for the next turn. The first one never must."""
        if self._ends_at is not None:
            return self._clock() >= self._ends_at
        self._ends_at = self._clock() + self._seconds
        asyncio.get_running_loop().call_soon(self._end_turn)
        return False

    @types.coroutine
    def wait(self) -> Generator[Any, None, None]:
        """Wait for a turn that has time left, behind those that have waited longer."""
        ticket = asyncio.get_running_loop().create_future()
        self.waiting.append(ticket)
        try:
            if len(self.waiting) > self._max_awake:
                yield from ticket.__await__()
            while self.waiting[0] is not ticket or self.is_over():
                yield from asyncio.sleep(self._rest_seconds()).__await__()
        finally:
            self.waiting.remove(ticket)
            if len(self.waiting) >= self._max_awake and not self.waiting[self._max_awake - 1].done():
                self.waiting[self._max_awake - 1].set_result(None)

    def _rest_seconds(self) -> float:
        """Return how long nobody may work; with 0, all who wait look again in the next turn."""
        return 0.0

    def _end_turn(self) -> None:
        self._ends_at = None


class YieldingBudget(TurnBudget):
    """The budget of greedy users. While others use the loop, it rests after each piece of work as long."""

    _max_awake = 16
    __slots__ = ("_others_at", "_rests_until")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(seconds, clock)
        self._others_at = self._rests_until = float("-inf")

    def note_others(self) -> None:
        """Note that another user's request takes a step."""
        self._others_at = self._clock()

    def note_work(self, seconds: float) -> None:
        """Note a piece of work that took *seconds*."""
        self._rests_until = self._clock() + seconds

    def is_over(self) -> bool:
        return self._rest_seconds() > 0 or super().is_over()

    def has_company(self) -> bool:
        """Return whether others have used the loop lately."""
        return self._clock() - self._others_at < _ALONE_SECONDS

    def _rest_seconds(self) -> float:
        now = self._clock()
        return max(self._rests_until - now, 0.0) if now - self._others_at < _COMPANY_SECONDS else 0.0


class HoldingConnection(Protocol):
    """A connection that holds bytes which are not parsed yet."""

    def take_turn(self) -> None: ...


class Turns:
    """The budgets of a process, and the queue of connections that hold bytes."""

    def __init__(self, health_paths: HealthPaths | None = None) -> None:
        self.health_paths = health_paths or HealthPaths()
        self.parsing = TurnBudget(_PARSING_SECONDS)
        self.handling = TurnBudget(_HANDLING_SECONDS)
        self.greedy_handling = YieldingBudget(_HANDLING_SECONDS)
        self.loads = UserLoads()
        self.health = TurnBudget(_HEALTH_SECONDS)
        # Not that of `health`, which pipelined requests for it may use up in each turn.
        self.health_parsing = TurnBudget(_HEALTH_PARSING_SECONDS)
        self._holding: deque[HoldingConnection] = deque()
        self._is_scheduled = False

    def may_parse_at_once(self, data: bytes) -> bool:
        """Return whether *data*, just read, need not queue behind what other connections hold.

        It need not if it is one whole health check and nothing else.
        """
        if not self._holding and self._may_parse():
            return True
        is_health_check = data.startswith(self.health_paths.requests)
        is_whole = is_health_check and data.find(_HEAD_END) == len(data) - len(_HEAD_END)
        return is_whole and not self.health_parsing.is_over()

    def handling_of(self, user: UUID | None) -> TurnBudget:
        """Return the budget for the next step of a request of *user*; None: nobody is admitted yet."""
        if user is None:
            return self.handling
        if not self.loads.is_greedy(user):
            self.greedy_handling.note_others()
        elif self.greedy_handling.has_company():
            return self.greedy_handling
        return self.handling

    def note_step(self, user: UUID, budget: TurnBudget, seconds: float) -> None:
        """Note how long a step of a request of *user* took that *budget* has admitted."""
        self.loads.add(user, seconds)
        if budget is self.greedy_handling:
            self.greedy_handling.note_work(seconds)

    def enqueue(self, connection: HoldingConnection) -> None:
        """Give *connection* a turn behind the others. It must not be queued already."""
        self._holding.append(connection)
        if not self._is_scheduled:
            self._schedule()

    def _may_parse(self) -> bool:
        if len(self.handling.waiting) >= _MAX_WAITING or len(self.greedy_handling.waiting) >= _MAX_GREEDY:
            return False
        return not self.parsing.is_over()

    def _schedule(self) -> None:
        self._is_scheduled = True
        # Not in the context of the request that has enqueued a connection: others are parsed as well.
        asyncio.get_running_loop().call_soon(self._run, context=Context())

    def _run(self) -> None:
        self._is_scheduled = False
        while self._holding and self._may_parse():
            self._holding.popleft().take_turn()
        if self._holding and not self._is_scheduled:
            self._schedule()
