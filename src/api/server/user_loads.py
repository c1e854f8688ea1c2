"""Measures how much of the event loop each user's requests take, so that others need not wait for them."""

import math
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

# What a user took counts less and less: after this time, a third of it.
_MEMORY_SECONDS: Final = 1.0
# A user whose requests take more than this part of the loop's time is greedy.
_GREEDY_PART: Final = 0.1
_MAX_USERS: Final = 1_000


class UserLoads:
    """The seconds of the loop that users took lately, as sums that fade."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._loads: dict[UUID, tuple[float, float]] = {}

    def add(self, user: UUID, seconds: float) -> None:
        """Count *seconds* that a request of *user* has just taken."""
        now = self._clock()
        if len(self._loads) >= _MAX_USERS and user not in self._loads:
            self._loads = {
                each: load for each, load in self._loads.items() if now - load[1] < _MEMORY_SECONDS
            }
        self._loads[user] = (self._faded(user, now) + seconds, now)

    def is_greedy(self, user: UUID) -> bool:
        """Return whether the requests of *user* take a large part of the loop's time."""
        return user in self._loads and self._faded(user, self._clock()) > _GREEDY_PART * _MEMORY_SECONDS

    def _faded(self, user: UUID, now: float) -> float:
        seconds, counted_at = self._loads.get(user, (0.0, now))
        return seconds * math.exp((counted_at - now) / _MEMORY_SECONDS)
