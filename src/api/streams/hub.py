"""Who watches which job in this process, fed by one pub/sub connection and checked against PostgreSQL."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis

from adapters.event_bus import EventBus, EventsHeard, Heard
from domain.database import TRANSIENT
from domain.events.feed import Feed
from domain.events.log import EventLog
from domain.jobs.states import JobState

_log = structlog.get_logger(__name__)

_CHECK_SECONDS: Final = 5.0
_DEGRADED_CHECK_SECONDS: Final = 1.0
_GOODBYE_SECONDS: Final = 2.0


class Hub:
    """One feed for each watched job. `run` is its task."""

    def __init__(self, redis: Redis | None, log: EventLog) -> None:
        self.log = log
        self._bus = EventBus(redis, self._hear, self._recheck_soon)
        self._feeds: dict[UUID, Feed] = {}
        self._opening: dict[UUID, asyncio.Task[Feed]] = {}
        self._filling: dict[UUID, asyncio.Task[None]] = {}
        self._recheck = asyncio.Event()
        self._has_redis = redis is not None
        self._database_away = False
        self.is_closing = False
        self._deserted = asyncio.Event()
        self._unwatched: set[UUID] = set()

    @property
    def is_degraded(self) -> bool:
        """Whether news travel slower than they should: Redis or PostgreSQL is away."""
        return self._database_away or (self._has_redis and not self._bus.is_connected)

    @asynccontextmanager
    async def watch(self, job_id: UUID, watcher: asyncio.Event) -> AsyncIterator[Feed]:
        """The feed of a job, listening before anything is read; *watcher* is set at every change.

        Raises:
            DatabaseAwayError: where the job stands cannot be found out.
        """
        feed = self._feeds.get(job_id) or await self._open(job_id)
        feed.watch(watcher)
        try:
            yield feed
        finally:
            feed.unwatch(watcher)
            if not feed.is_watched:
                await self._close(job_id, feed)

    async def run(self) -> None:
        """Listen and check until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bus.run())
            group.create_task(self._check_often())

    async def say_goodbye(self) -> None:
        """Let every stream end with a `bye`; waits a moment for them."""
        self.is_closing = True
        for feed in list(self._feeds.values()):
            feed.notify()
        if self._feeds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self._deserted.wait()

    async def _close(self, job_id: UUID, feed: Feed) -> None:
        if self._feeds.get(job_id) is not feed:
            return
        del self._feeds[job_id]
        if not self._feeds:
            self._deserted.set()
        await self._bus.unsubscribe(job_id)

    async def _open(self, job_id: UUID) -> Feed:
        """Watchers that come together share one opening; one that leaves does not undo it for the others."""
        opening = self._opening.get(job_id)
        if opening is None:
            opening = self._opening[job_id] = asyncio.create_task(self._begin(job_id))
            opening.add_done_callback(lambda _: self._opening.pop(job_id, None))
        return await asyncio.shield(opening)

    async def _begin(self, job_id: UUID) -> Feed:
        await self._bus.subscribe(job_id)
        try:
            head = (await self.log.heads([job_id])).get(job_id)
        except TRANSIENT:
            await self._bus.unsubscribe(job_id)
            raise
        feed = Feed()
        if head is None:
            feed.delete()
        else:
            feed.begin(head.seq, head.state if JobState(head.state).is_final else None)
        # From here on messages are taken; what came since the query is a gap, and found by the check below.
        self._feeds[job_id] = feed
        self._recheck_soon()
        return feed

    def _hear(self, job_id: UUID, heard: Heard) -> None:
        feed = self._feeds.get(job_id)
        if feed is None:
            return
        if not isinstance(heard, EventsHeard):
            feed.offer_progress(heard.fence, heard.fraction, heard.frame)
        elif not feed.offer(heard.events):
            self._fill(job_id, feed)

    def _fill(self, job_id: UUID, feed: Feed) -> None:
        """Read what is missing from the log; one reader a job."""
        if job_id not in self._filling:
            task = self._filling[job_id] = asyncio.create_task(self._read_missing(job_id, feed))
            task.add_done_callback(lambda _: self._filling.pop(job_id, None))

    async def _read_missing(self, job_id: UUID, feed: Feed) -> None:
        try:
            while events := await self.log.read_after(job_id, feed.head):
                feed.offer(events)
        except TRANSIENT as error:
            _log.warning("gap_not_filled", job_id=str(job_id), reason=error.reason)

    def _recheck_soon(self) -> None:
        self._recheck.set()

    async def _check_often(self) -> None:
        while True:
            seconds = _DEGRADED_CHECK_SECONDS if self.is_degraded or not self._has_redis else _CHECK_SECONDS
            try:
                async with asyncio.timeout(seconds * random.uniform(0.8, 1.0)):  # noqa: S311
                    await self._recheck.wait()
            except TimeoutError:
                pass
            self._recheck.clear()
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
        # A watcher that left while its feed was being opened has left it behind.
        for job_id in self._unwatched & feeds.keys():
            if not feeds[job_id].is_watched:
                await self._close(job_id, feeds[job_id])
        self._unwatched = {job_id for job_id, feed in feeds.items() if not feed.is_watched}
        for job_id, feed in feeds.items():
            head = heads.get(job_id)
            if head is None:
                feed.delete()
            elif head.seq > feed.head:
                self._fill(job_id, feed)
