"""A feed closes after its last watcher, also if that watcher leaves while the feed is being opened."""

import asyncio
import gc
from typing import Any

from headrace.api.live.shared_feeds import SharedFeeds
from headrace.domain.events.observable import Observable


class Feeds:
    """Opens feeds, and records which were closed."""

    def __init__(self) -> None:
        self.shared = SharedFeeds[int, Observable](self._begin, self._end)
        self.closed: list[int] = []
        self.visits_another_while_closing = False

    async def abandon(self, key: int) -> None:
        """Open a feed for a watcher who leaves before it is open."""
        coming = asyncio.create_task(self.come_and_go(key))
        await asyncio.sleep(0)
        coming.cancel()
        await asyncio.wait({coming})
        while key not in self.shared.feeds:
            await asyncio.sleep(0)

    async def come_and_go(self, key: int) -> None:
        async with self.shared.watch(key, lambda: None):
            pass

    async def _begin(self, _: int) -> Observable:
        await asyncio.sleep(0)
        return Observable()

    async def _end(self, key: int) -> None:
        self.closed.append(key)
        if self.visits_another_while_closing:
            self.visits_another_while_closing = False
            (other,) = self.shared.feeds
            await self.come_and_go(other)


async def test_an_abandoned_feed_is_closed_at_the_second_sweep() -> None:
    feeds = Feeds()
    await feeds.abandon(1)

    await feeds.shared.sweep()
    assert feeds.closed == []
    await feeds.shared.sweep()

    assert feeds.closed == [1]
    assert feeds.shared.feeds == {}


async def test_a_sweep_tolerates_a_feed_that_a_watcher_closes_first() -> None:
    feeds = Feeds()
    await feeds.abandon(1)
    await feeds.abandon(2)
    await feeds.shared.sweep()

    feeds.visits_another_while_closing = True
    await feeds.shared.sweep()

    assert sorted(feeds.closed) == [1, 2]
    assert feeds.shared.feeds == {}


async def test_a_reopened_feed_is_not_mistaken_for_the_abandoned_one() -> None:
    feeds = Feeds()
    await feeds.abandon(1)
    await feeds.shared.sweep()
    await feeds.come_and_go(1)
    await feeds.abandon(1)

    await feeds.shared.sweep()

    assert feeds.closed == [1]
    assert list(feeds.shared.feeds) == [1]


async def test_a_feed_that_fails_to_open_after_its_watcher_left_is_no_error() -> None:
    opening = asyncio.Event()
    reports: list[dict[str, Any]] = []

    async def fail(_: int) -> Observable:
        await opening.wait()
        raise ConnectionError("away")

    async def close(_: int) -> None:
        raise AssertionError

    async def watch(shared: SharedFeeds[int, Observable]) -> None:
        async with shared.watch(1, lambda: None):
            pass

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, report: reports.append(report))
    try:
        watching = asyncio.create_task(watch(SharedFeeds(fail, close)))
        await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait({watching})
        # Its traceback refers to the task that opens the feed.
        del watching
        opening.set()
        await asyncio.sleep(0.01)
        gc.collect()
    finally:
        loop.set_exception_handler(None)

    assert reports == []
