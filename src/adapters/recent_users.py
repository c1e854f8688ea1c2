"""Remembers the latest users of a resource, to know whether a user shares it with others."""

import time
from collections.abc import Callable
from uuid import UUID


class RecentUsers:
    """The two users who sent the latest requests, and when."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Forget a user *seconds* after the latest request."""
        self._seconds = seconds
        self._clock = clock
        self._latest: tuple[UUID | None, float] = (None, float("-inf"))
        self._latest_other: tuple[UUID | None, float] = (None, float("-inf"))

    def note(self, user: UUID) -> None:
        """Note a request of *user*."""
        if user != self._latest[0]:
            self._latest_other = self._latest
        self._latest = (user, self._clock())

    def is_alone(self, user: UUID | None) -> bool:
        """Return whether no other user has sent a request lately."""
        other, sent_at = self._latest if self._latest[0] != user else self._latest_other
        return other is None or self._clock() - sent_at > self._seconds
