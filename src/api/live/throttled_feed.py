"""Throttles notifications: the more watchers a feed has, the less often it notifies them."""

import asyncio
from typing import Final

from headrace.domain.events.feed import Feed

# Notifying one watcher takes about half of this.
_SECONDS_PER_WATCHER: Final = 20e-6


class ThrottledFeed(Feed):
    """Notifies a thousand watchers at most fifty times a second; events in between are coalesced."""

    def __init__(self) -> None:
        super().__init__()
        self._notified_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def notify(self) -> None:
        """Notify the watchers now, or once their pause is over."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        seconds = self._notified_at + self.watchers * _SECONDS_PER_WATCHER - loop.time()
        if seconds > 0:
            self._timer = loop.call_later(seconds, self._notify_now)
        else:
            self._notify_now()

    def _notify_now(self) -> None:
        self._timer = None
        super().notify()
        self._notified_at = asyncio.get_running_loop().time()
