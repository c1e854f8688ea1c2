"""An object that notifies many watchers of its changes. Pure."""

from collections.abc import Callable
from typing import TypeAlias

Callback: TypeAlias = Callable[[], None]


class Observable:
    """Calls every watcher at every change."""

    def __init__(self) -> None:
        self._watchers: set[Callback] = set()

    def watch(self, watcher: Callback) -> None:
        """Call *watcher* at every change from now on."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Callback) -> None:
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
