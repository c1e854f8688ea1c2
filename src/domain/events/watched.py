"""Something that many in a process wait for news of. Pure."""

from asyncio import Event


class Watched:
    """Sets the event of each of its watchers at every change."""

    def __init__(self) -> None:
        self._watchers: set[Event] = set()

    def watch(self, watcher: Event) -> None:
        """Set *watcher* at every change from now on."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Event) -> None:
        self._watchers.discard(watcher)

    @property
    def is_watched(self) -> bool:
        return bool(self._watchers)

    def notify(self) -> None:
        for watcher in self._watchers:
            watcher.set()
