"""Who watches which job in this process, fed by one pub/sub connection and checked against PostgreSQL."""

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from headrace.adapters.event_bus import EventBus, EventsMessage, decode_message, job_channel
from headrace.api.live.batch_loader import BatchLoader
from headrace.api.live.overviews import Overviews
from headrace.api.live.shared_feeds import SharedFeeds, pause_between_checks
from headrace.api.live.throttled_feed import ThrottledFeed
from headrace.domain.database import TRANSIENT
from headrace.domain.events.feed import Feed
from headrace.domain.events.log import EventLog
from headrace.domain.events.observable import Callback
from headrace.domain.jobs.states import JobState

_log = structlog.get_logger(__name__)

_GOODBYE_SECONDS: Final = 2.0
_MOST_HEADS: Final = 500


class Hub:
    """One feed for each watched job, and the overviews of their owners. `run` is its task."""

    def __init__(self, bus: EventBus, log: EventLog, overviews: Overviews) -> None:
        self.log = log
        self.overviews = overviews
        self._bus = bus
        self._heads = BatchLoader(log.heads, _MOST_HEADS)
        bus.on_reconnect.append(self._recheck_soon)
        self._shared = SharedFeeds[UUID, Feed](self._begin, self._end)
        self._feeds = self._shared.things
        self._filling: dict[UUID, asyncio.Task[None]] = {}
        self._recheck = asyncio.Event()
        self._database_away = False
        self.is_closing = False

    @property
    def is_degraded(self) -> bool:
        """Whether news travel slower than they should: Redis or PostgreSQL is away."""
        return self._database_away or self._bus.is_away

    def watch(self, job_id: UUID, watcher: Callback) -> AbstractAsyncContextManager[Feed]:
        """The feed of a job, listening before anything is read; *watcher* is called at every change.

        Raises:
            DatabaseAwayError: where the job stands cannot be found out.
        """
        return self._shared.watch(job_id, watcher)

    async def run(self) -> None:
        """Listen and check until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bus.run())
            group.create_task(self._check_often())
            group.create_task(self.overviews.run())

    async def say_goodbye(self) -> None:
        """Let every stream end with a `bye`; waits a moment for them."""
        self.is_closing = self.overviews.is_closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.gather(self._shared.until_deserted(), self.overviews.until_deserted())

    async def _begin(self, job_id: UUID) -> Feed:
        channel = job_channel(job_id)
        await self._bus.subscribe(channel, partial(self._hear, job_id))
        try:
            head = await self._heads.get(job_id)
        except TRANSIENT:
            await self._bus.unsubscribe(channel)
            raise
        feed = ThrottledFeed()
        if head is None:
            feed.delete()
        else:
            feed.begin(head.seq, head.state if JobState(head.state).is_final else None)
        # What came since the query is a gap, and found by the check.
        self._recheck_soon()
        return feed

    async def _end(self, job_id: UUID) -> None:
        await self._bus.unsubscribe(job_channel(job_id))

    def _hear(self, job_id: UUID, raw: bytes) -> None:
        feed = self._feeds.get(job_id)
        if feed is None:
            return
        heard = decode_message(raw)
        if not isinstance(heard, EventsMessage):
            feed.offer_progress(heard.fence, heard.fraction, heard.frame)
        elif not feed.append(heard.events):
            self._fill(job_id, feed)

    def _fill(self, job_id: UUID, feed: Feed) -> None:
        """Read what is missing from the log; one reader a job."""
        if job_id not in self._filling:
            task = self._filling[job_id] = asyncio.create_task(self._read_missing(job_id, feed))
            task.add_done_callback(lambda _: self._filling.pop(job_id, None))

    async def _read_missing(self, job_id: UUID, feed: Feed) -> None:
        try:
            while events := await self.log.read_after(job_id, feed.head):
                feed.append(events)
        except TRANSIENT as error:
            _log.warning("gap_not_filled", job_id=str(job_id), reason=error.reason)

    def _recheck_soon(self) -> None:
        self._recheck.set()

    async def _check_often(self) -> None:
        while True:
            await pause_between_checks(self._recheck, is_slow=self.is_degraded or not self._bus.has_redis)
            await self._bus.resubscribe()
            if self._feeds:
                await self._check()

    async def _check(self) -> None:
        """Compare every feed with PostgreSQL, in one query: a lost last event is found too."""
        feeds = dict(self._feeds)
        try:
            heads = await self.log.heads(list(feeds))
        except TRANSIENT as error:
            self._database_away = True
            _log.warning("heads_not_checked", reason=error.reason)
            return
        self._database_away = False
        await self._shared.sweep()
        for job_id, feed in feeds.items():
            head = heads.get(job_id)
            if head is None:
                feed.delete()
            elif head.seq > feed.head:
                self._fill(job_id, feed)
