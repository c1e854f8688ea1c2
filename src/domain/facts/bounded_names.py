"""Bounds the values of a label: the names beyond the limit share the name `other`. Pure."""

from collections.abc import Iterable
from typing import Final

OTHER: Final = "other"


class BoundedNames:
    """The names that have a series of their own, at most *limit*. They keep it while they exist.

    A name that goes makes room. The names that wait for room get it in the order in which they are given.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: dict[str, None] = {}

    def update(self, present: Iterable[str]) -> None:
        """Drop the names that are not *present* any more, and admit others as far as there is room."""
        names = dict.fromkeys(present)
        self._admitted = {name: None for name in self._admitted if name in names}
        for name in names:
            self.admit(name)

    def admit(self, name: str) -> str:
        """Return *name* if it has a series of its own, or if there is room for it; else `other`."""
        if name in self._admitted:
            return name
        if len(self._admitted) >= self._limit:
            return OTHER
        self._admitted[name] = None
        return name
