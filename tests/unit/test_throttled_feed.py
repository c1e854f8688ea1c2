"""How often a throttled feed notifies its watchers."""

import asyncio

import pytest

from headrace.api.live import throttled_feed
from headrace.api.live.throttled_feed import ThrottledFeed
from headrace.domain.events.encoding import LoggedEvent
from support.patience import PATIENCE_SECONDS


async def test_a_burst_of_events_notifies_watchers_at_once_and_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throttled_feed, "_SECONDS_PER_WATCHER", 0.05)
    feed, heads, is_complete = ThrottledFeed(), [], asyncio.Event()
    feed.begin(0, None)

    def watcher() -> None:
        heads.append(feed.head)
        if feed.head == 10:
            is_complete.set()

    feed.watch(watcher)
    for seq in range(1, 11):
        feed.append([LoggedEvent(seq, "log", b"{}")])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_complete.wait()

    assert heads == [1, 10]


async def test_a_feed_without_watchers_takes_events_without_waiting() -> None:
    feed = ThrottledFeed()
    feed.begin(0, None)

    feed.append([LoggedEvent(1, "log", b"{}")])
    feed.append([LoggedEvent(2, "log", b"{}")])

    assert feed.head == 2
