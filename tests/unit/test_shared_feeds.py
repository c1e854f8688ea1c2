"""A feed closes after its last watcher, also if that watcher leaves while the feed is being opened."""

import asyncio

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
