"""Things that are opened once for all their watchers, and closed after the last."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from headrace.domain.events.observable import Callback, Observable

_CHECK_SECONDS: Final = 5.0
_SLOW_CHECK_SECONDS: Final = 1.0

Key = TypeVar("Key")
Thing = TypeVar("Thing", bound=Observable)


class SharedFeeds(Generic[Key, Thing]):
    """*begin* makes a thing, *end* is called once it has left `things`."""

    def __init__(
        self, begin: Callable[[Key], Awaitable[Thing]], end: Callable[[Key], Awaitable[None]]
    ) -> None:
        self._begin = begin
        self._end = end
        self._opening: dict[Key, asyncio.Task[Thing]] = {}
        self._unwatched: set[Thing] = set()
        self._deserted = asyncio.Event()
        self.things: dict[Key, Thing] = {}

    @asynccontextmanager
    async def watch(self, key: Key, watcher: Callback) -> AsyncIterator[Thing]:
        """The thing, for the block; *watcher* is called at every change of it."""
        thing = self.things.get(key) or await self._open(key)
        thing.watch(watcher)
        try:
            yield thing
        finally:
            thing.unwatch(watcher)
            if not thing.is_watched:
                await self._close(key, thing)

    async def sweep(self) -> None:
        """Close what had no watcher at the last sweep, either: one that left meanwhile has left it behind."""
        # While one is closed, watchers come to the others and leave: each is looked at when its turn comes.
        for key, thing in list(self.things.items()):
            if thing in self._unwatched and not thing.is_watched:
                await self._close(key, thing)
        self._unwatched = {thing for thing in self.things.values() if not thing.is_watched}

    async def until_deserted(self) -> None:
        """Wake every watcher, and wait until all have left."""
        for thing in list(self.things.values()):
            thing.notify()
        if self.things:
            await self._deserted.wait()

    async def _open(self, key: Key) -> Thing:
        """Watchers that come together share one opening; one that leaves does not undo it for the others."""
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = asyncio.create_task(self._opened(key))
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        return await asyncio.shield(opening)

    async def _opened(self, key: Key) -> Thing:
        thing = self.things[key] = await self._begin(key)
        self._deserted.clear()
        return thing

    async def _close(self, key: Key, thing: Thing) -> None:
        if self.things.get(key) is not thing:
            return
        del self.things[key]
        if not self.things:
            self._deserted.set()
        await self._end(key)


async def pause_between_checks(recheck: asyncio.Event, *, is_slow: bool) -> None:
    """Wait until what is watched is to be compared with PostgreSQL: soon where news travel slowly."""
    seconds = _SLOW_CHECK_SECONDS if is_slow else _CHECK_SECONDS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.8, 1.0)):  # noqa: S311
            await recheck.wait()
    recheck.clear()
