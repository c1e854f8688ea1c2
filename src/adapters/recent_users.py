"""Remembers who asked last, to know whether a user shares a resource with others."""

import time
from collections.abc import Callable
from uuid import UUID


class RecentUsers:
    """The two users who asked last, and when."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """A user who has not asked for *seconds* is forgotten."""
        self._seconds = seconds
        self._clock = clock
        self._latest: tuple[UUID | None, float] = (None, float("-inf"))
        self._latest_other: tuple[UUID | None, float] = (None, float("-inf"))

    def note(self, user: UUID) -> None:
        """Note that *user* asks now."""
        if user != self._latest[0]:
            self._latest_other = self._latest
        self._latest = (user, self._clock())

    def is_alone(self, user: UUID | None) -> bool:
        """Return whether nobody but *user* has asked lately."""
        other, asked_at = self._latest if self._latest[0] != user else self._latest_other
        return other is None or self._clock() - asked_at > self._seconds
