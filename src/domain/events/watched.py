"""Something that many in a process wait for news of. Pure."""

from collections.abc import Callable
from typing import TypeAlias

Wake: TypeAlias = Callable[[], None]


class Watched:
    """Calls each of its watchers at every change."""

    def __init__(self) -> None:
        self._watchers: set[Wake] = set()

    def watch(self, watcher: Wake) -> None:
        """Call *watcher* at every change from now on."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Wake) -> None:
        self._watchers.discard(watcher)

    @property
    def is_watched(self) -> bool:
        return bool(self._watchers)

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def notify(self) -> None:
        for watcher in self._watchers:
            watcher()
