"""One watcher of one job: the frames in the order in which they are sent, whatever carries them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from headrace.api.live.direct_writer import DirectWriter
from headrace.api.live.frames import Beat, End, Frame, Hello, bye, error, framed, signed_out, skipping
from headrace.api.live.heartbeat import Heartbeat
from headrace.api.live.hub import Hub
from headrace.api.schemas import JobView
from headrace.domain.database import TRANSIENT
from headrace.domain.events.feed import Feed
from headrace.domain.events.log import PAGE
from headrace.domain.events.types import LoggedEvent
from headrace.domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError

_AWAY_PAUSE_SECONDS: Final = 1.0
# What a watcher holds while it sends: a slow one reads on from the log.
GROUP_BYTES: Final = 32 * 1024
_FIRST_PAGE: Final = 100
_LEAST_PAGE: Final = 8


class Snapshot(Struct, frozen=True):
    """The job as it was when the stream began, and its newest progress frame."""

    job: JobView
    progress: bytes | None


Ending = Literal["ended", "deleted", "closing", "signed_out"]


class JobStream:
    """Yields every event past the cursor once, in order, and between them what else a watcher should know."""

    def __init__(
        self, job_id: UUID, after: int, hub: Hub, load: Callable[[], Awaitable[Snapshot | None]]
    ) -> None:
        """*load* reads the snapshot, and only of a job that this watcher may see."""
        self._job_id = job_id
        self._hub = hub
        self._load = load
        self._pulse = Heartbeat(self._beat)
        self._head = 0
        self._page = _FIRST_PAGE
        self._feed: Feed | None = None
        self._progress_no = 0
        self.direct_writer: DirectWriter | None = None
        self.cursor = after
        self.frames_sent = 0
        self.end: Ending | None = None
        self._is_signed_out = False

    def sign_out(self) -> None:
        """The watcher may not watch any more."""
        self._is_signed_out = True
        self._pulse.wake.set()

    def answer(self, frame: Frame) -> None:
        """Send *frame* between the others."""
        self._pulse.answer(frame)

    def resume(self, after: int) -> None:
        """Go on from another cursor.

        Raises:
            CursorBeyondHeadError: it has not happened yet.
        """
        if after > self._head:
            raise CursorBeyondHeadError(after, self._head)
        self.cursor = after
        self._pulse.wake.set()

    async def frames(self) -> AsyncIterator[list[Frame]]:
        """The frames, in groups that are ready together, up to and with the last one.

        Raises:
            JobNotFoundError: no such job, or not this watcher's.
            CursorBeyondHeadError: the cursor is beyond the newest event.
            DatabaseAwayError: the stream could not begin.
        """
        # Listen before reading the log, so that nothing falls between the two.
        async with self._hub.watch(self._job_id, self._hear) as feed:
            snapshot = await self._load()
            if snapshot is None:
                raise JobNotFoundError(self._job_id)
            self._head = snapshot.job.event_seq
            if self.cursor > self._head:
                raise CursorBeyondHeadError(self.cursor, self._head)
            self._progress_no = feed.progress_no
            yield self._count(self._hello(snapshot, feed.progress or snapshot.progress))
            del snapshot
            self._feed = feed
            async for group in self._follow(feed):
                yield self._count(group)

    async def _follow(self, feed: Feed) -> AsyncIterator[list[Frame]]:
        self._pulse.begin()
        while True:
            group = self._pulse.take_answers()
            events = await self._next_events(feed)
            if events:
                self.cursor = events[-1].seq
                group += [Frame(event.frame, event.seq) for event in events]
            self._head = max(self._head, feed.head, self.cursor)
            last = self._last(feed)
            if last is not None:
                yield [*group, last]
                return
            news = feed.progress_no - self._progress_no
            if self.cursor >= feed.head and feed.progress is not None and news:
                skipped, self._progress_no = news - 1, feed.progress_no
                group.append(Frame(skipping(feed.progress, skipped)))
            group += self._pulse.due_beat()
            if group:
                yield group
            else:
                await self._pulse.woken()

    def _hear(self) -> None:
        """The feed has changed: hand the events on at once, or have the frames go on."""
        if not self._hand_on():
            self._pulse.wake.set()

    def _hand_on(self) -> bool:
        """Send new events in the feed's own turn; False where there is anything else to send, or no room."""
        feed, outlet = self._feed, self.direct_writer
        if feed is None or outlet is None or not self._pulse.is_resting:
            return False
        if feed.progress_no != self._progress_no or self._is_over(feed):
            return False
        packet = feed.cached_packet(self.cursor, outlet.encode_packet, GROUP_BYTES)
        if packet is None or not outlet.write(packet):
            return False
        self.frames_sent += feed.head - self.cursor
        self.cursor = self._head = feed.head
        return True

    def _is_over(self, feed: Feed) -> bool:
        return self._hub.is_closing or self._is_signed_out or feed.is_deleted or feed.final_state is not None

    def _last(self, feed: Feed) -> Frame | None:
        """The frame that ends the stream, if it is over."""
        if self._is_signed_out:
            self.end = "signed_out"
            return signed_out()
        if self._hub.is_closing:
            self.end = "closing"
            return bye()
        if feed.is_deleted:
            self.end = "deleted"
            return error("job_deleted", "the job was deleted")
        if self.cursor >= feed.head and feed.final_state is not None:
            self.end = "ended"
            return framed(End(state=feed.final_state))
        return None

    async def _next_events(self, feed: Feed) -> Sequence[LoggedEvent]:
        events = feed.after(self.cursor, GROUP_BYTES)
        if events is not None:
            return events
        try:
            events = await self._hub.log.read_after(self._job_id, self.cursor, self._page, GROUP_BYTES)
        except TRANSIENT:
            await asyncio.sleep(_AWAY_PAUSE_SECONDS)
            self._pulse.answer(self._pulse.beat())
            return []
        # Rows past the bytes that are wanted are read for nothing.
        self._page = min(max(2 * len(events), _LEAST_PAGE), PAGE)
        return events

    def _beat(self) -> Frame:
        return framed(Beat(head=self._head, degraded=self._hub.is_degraded))

    def _hello(self, snapshot: Snapshot, progress: bytes | None) -> list[Frame]:
        job = snapshot.job
        frames = [framed(Hello(job_id=job.id, head=job.event_seq, job=job))]
        if job.state == "running" and progress is not None:
            frames.append(Frame(progress))
        return frames

    def _count(self, group: list[Frame]) -> list[Frame]:
        self.frames_sent += len(group)
        return group
