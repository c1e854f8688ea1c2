"""The feeds of all watched jobs, fed by one pub/sub connection and checked against PostgreSQL."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol
from uuid import UUID

import structlog

from headrace.adapters.event_bus import EventBus
from headrace.adapters.listeners import job_channel
from headrace.adapters.messages import EventsMessage, Message, ProgressMessage
from headrace.api.database_errors import DATABASE_TROUBLE
from headrace.api.live.batch_loader import BatchLoader
from headrace.api.live.overviews import Overviews
from headrace.api.live.shared_feeds import SharedFeeds, pause_between_checks
from headrace.api.live.throttled_feed import ThrottledFeed
from headrace.domain.database import is_outage
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.feed import Feed
from headrace.domain.events.log import EventLog
from headrace.domain.events.observable import Callback
from headrace.domain.jobs.states import FINAL_STATES

_log = structlog.get_logger(__name__)

_GOODBYE_SECONDS: Final = 2.0
_MAX_HEADS: Final = 500


class HubObserver(Protocol):
    """Counts what a hub does."""

    def on_events(self, events: Sequence[LoggedEvent]) -> None:
        """New *events* of a job were passed to its watchers."""

    def on_repair(self) -> None:
        """Events that had not arrived over Redis were read from PostgreSQL."""


class Hub:
    """One feed per job that is watched in this process, and the overviews. `run` is its task."""

    def __init__(
        self, bus: EventBus, log: EventLog, overviews: Overviews, observer: HubObserver | None = None
    ) -> None:
        """*observer* is told of events that were passed on, and of gaps that were filled."""
        self._observer = observer
        self.log = log
        self.overviews = overviews
        self._bus = bus
        self._heads = BatchLoader(log.fetch_heads, _MAX_HEADS)
        bus.on_missed.append(self._recheck_soon)
        self._shared = SharedFeeds[UUID, Feed](self._open_feed, self._close_feed)
        self._feeds = self._shared.feeds
        self._gap_readers: dict[UUID, asyncio.Task[None]] = {}
        self._recheck = asyncio.Event()
        self._is_database_away = False
        self.is_closing = False

    @property
    def is_degraded(self) -> bool:
        """Whether events may be late: Redis or PostgreSQL is away, or messages are refused."""
        return self._is_database_away or self._bus.is_late

    def watch(self, job_id: UUID, on_change: Callback) -> AbstractAsyncContextManager[Feed]:
        """Hold the job's feed open for the block; *on_change* is called at each of its changes.

        The feed is subscribed to Redis before this reads PostgreSQL.

        Raises:
            DatabaseAwayError: the job's newest event cannot be read.
        """
        return self._shared.watch(job_id, on_change)

    async def run(self) -> None:
        """Listen and check until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bus.run())
            group.create_task(self._check_periodically())
            group.create_task(self.overviews.run())

    async def say_goodbye(self) -> None:
        """End every stream with a `bye`, and wait up to 2 s for them."""
        self.is_closing = self.overviews.is_closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.gather(self._shared.drain(), self.overviews.drain())

    async def _open_feed(self, job_id: UUID) -> Feed:
        channel = job_channel(job_id)
        await self._bus.subscribe(channel, partial(self._on_message, job_id))
        try:
            head = await self._heads.load(job_id)
        except BaseException:
            self._bus.unsubscribe(channel)
            raise
        feed = ThrottledFeed()
        if head is None:
            feed.delete()
        else:
            feed.begin(head.seq, head.state if head.state in FINAL_STATES else None)
        # Events since the query are missing from the feed; the check finds them.
        self._recheck_soon()
        return feed

    async def _close_feed(self, job_id: UUID) -> None:
        self._bus.unsubscribe(job_channel(job_id))

    def _on_message(self, job_id: UUID, message: Message) -> None:
        feed = self._feeds.get(job_id)
        if feed is None:
            return
        if isinstance(message, ProgressMessage):
            feed.update_progress(message.fence, message.fraction, message.frame)
        elif isinstance(message, EventsMessage) and not self._pass_on(feed, message.events):
            self._fill_gap(job_id, feed)

    def _pass_on(self, feed: Feed, events: Sequence[LoggedEvent]) -> bool:
        """Append *events* to *feed*, which notifies its watchers; return False when there is a gap."""
        head = feed.head
        has_no_gap = feed.append(events)
        if feed.head > head and self._observer is not None:
            self._observer.on_events(events)
        return has_no_gap

    def _fill_gap(self, job_id: UUID, feed: Feed) -> None:
        """Read missing events from the log, with one reader per job."""
        if job_id not in self._gap_readers:
            task = self._gap_readers[job_id] = asyncio.create_task(self._read_gap(job_id, feed))
            task.add_done_callback(lambda _: self._gap_readers.pop(job_id, None))

    async def _read_gap(self, job_id: UUID, feed: Feed) -> None:
        try:
            while events := await self.log.read_after(job_id, feed.head):
                self._pass_on(feed, events)
                if self._observer is not None:
                    self._observer.on_repair()
        except DATABASE_TROUBLE as error:
            if not is_outage(error):
                _log.warning("gap_not_filled", job_id=str(job_id), reason=repr(error))

    def _recheck_soon(self) -> None:
        self._recheck.set()

    async def _check_periodically(self) -> None:
        while True:
            await pause_between_checks(self._recheck, is_degraded=self.is_degraded or not self._bus.has_redis)
            self._bus.resubscribe()
            if self._feeds:
                await self._check()

    async def _check(self) -> None:
        """Compare the head of every feed with PostgreSQL in one query: a message that was lost shows here."""
        feeds = dict(self._feeds)
        try:
            heads = await self.log.fetch_heads(list(feeds))
        except DATABASE_TROUBLE as error:
            self._is_database_away = True
            if not is_outage(error):
                _log.warning("heads_not_checked", reason=repr(error))
            return
        self._is_database_away = False
        await self._shared.sweep()
        for job_id, feed in feeds.items():
            head = heads.get(job_id)
            if head is None:
                feed.delete()
            elif head.seq > feed.head:
                self._fill_gap(job_id, feed)
