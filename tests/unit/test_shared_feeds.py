"""A feed closes after its last watcher, also if that watcher leaves while the feed is being opened."""

import asyncio

from headrace.api.live.shared_feeds import SharedFeeds
from headrace.domain.events.observable import Observable


class Feeds:
    """Opens feeds, and records which were closed."""

    def __init__(self) -> None:
        self.shared = SharedFeeds[int, Observable](self._begin, self._end)
        self.closed: list[int] = []
        self.comes_while_another_is_closed = False

    async def leave_behind(self, key: int) -> None:
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
        if self.comes_while_another_is_closed:
            self.comes_while_another_is_closed = False
            (other,) = self.shared.feeds
            await self.come_and_go(other)


async def test_what_was_left_behind_is_closed_at_the_second_sweep() -> None:
    feeds = Feeds()
    await feeds.leave_behind(1)

    await feeds.shared.sweep()
    assert feeds.closed == []
    await feeds.shared.sweep()

    assert feeds.closed == [1]
    assert feeds.shared.feeds == {}


async def test_a_sweep_survives_that_a_watcher_closes_what_it_is_about_to() -> None:
    feeds = Feeds()
    await feeds.leave_behind(1)
    await feeds.leave_behind(2)
    await feeds.shared.sweep()

    feeds.comes_while_another_is_closed = True
    await feeds.shared.sweep()

    assert sorted(feeds.closed) == [1, 2]
    assert feeds.shared.feeds == {}


async def test_a_thing_that_was_opened_anew_is_not_taken_for_the_one_left_behind() -> None:
    feeds = Feeds()
    await feeds.leave_behind(1)
    await feeds.shared.sweep()
    await feeds.come_and_go(1)
    await feeds.leave_behind(1)

    await feeds.shared.sweep()

    assert feeds.closed == [1]
    assert list(feeds.shared.feeds) == [1]
