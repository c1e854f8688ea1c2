"""Shares each feed among its watchers: opens it for the first one and closes it after the last."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Generic, TypeVar

from headrace.adapters.tasks import retrieve_exception
from headrace.domain.events.observable import Callback, Observable

_CHECK_SECONDS: Final = 5.0
_DEGRADED_CHECK_SECONDS: Final = 1.0

Key = TypeVar("Key")
FeedT = TypeVar("FeedT", bound=Observable)


class SharedFeeds(Generic[Key, FeedT]):
    """The open feeds of a process. *open_feed* makes a feed, *close_feed* is called after its removal."""

    def __init__(
        self, open_feed: Callable[[Key], Awaitable[FeedT]], close_feed: Callable[[Key], Awaitable[None]]
    ) -> None:
        self._open_feed = open_feed
        self._close_feed = close_feed
        self._opening: dict[Key, asyncio.Task[FeedT]] = {}
        self._unwatched: set[FeedT] = set()
        self._all_closed = asyncio.Event()
        self.feeds: dict[Key, FeedT] = {}

    @asynccontextmanager
    async def watch(self, key: Key, on_change: Callback) -> AsyncIterator[FeedT]:
        """Hold the feed of *key* open for the block; *on_change* is called at each of its changes."""
        feed = self.feeds.get(key) or await self._open(key)
        feed.watch(on_change)
        try:
            yield feed
        finally:
            feed.unwatch(on_change)
            if not feed.is_watched:
                await self._close(key, feed)

    async def sweep(self) -> None:
        """Close feeds without watchers at this sweep and the last: their watchers left while they opened."""
        # Closing awaits, and watchers come and go meanwhile: check each feed when its turn comes.
        for key, feed in list(self.feeds.items()):
            if feed in self._unwatched and not feed.is_watched:
                await self._close(key, feed)
        self._unwatched = {feed for feed in self.feeds.values() if not feed.is_watched}

    async def drain(self) -> None:
        """Wake every watcher, and wait until all feeds are closed."""
        for feed in list(self.feeds.values()):
            feed.notify()
        if self.feeds:
            await self._all_closed.wait()

    async def _open(self, key: Key) -> FeedT:
        """Open a feed once for concurrent watchers; if one of them leaves, it still opens for the others."""
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = asyncio.create_task(self._open_and_add(key))
            opening.add_done_callback(partial(self._on_opened, key))
        return await asyncio.shield(opening)

    def _on_opened(self, key: Key, opening: "asyncio.Task[FeedT]") -> None:
        del self._opening[key]
        retrieve_exception(opening)

    async def _open_and_add(self, key: Key) -> FeedT:
        feed = self.feeds[key] = await self._open_feed(key)
        self._all_closed.clear()
        return feed

    async def _close(self, key: Key, feed: FeedT) -> None:
        if self.feeds.get(key) is not feed:
            return
        del self.feeds[key]
        if not self.feeds:
            self._all_closed.set()
        await self._close_feed(key)


async def pause_between_checks(recheck: asyncio.Event, *, is_degraded: bool) -> None:
    """Wait until feeds are due to be compared with PostgreSQL: 5 s, or 1 s if notifications may be late."""
    seconds = _DEGRADED_CHECK_SECONDS if is_degraded else _CHECK_SECONDS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.8, 1.0)):  # noqa: S311
            await recheck.wait()
    recheck.clear()
