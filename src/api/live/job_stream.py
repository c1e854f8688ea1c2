"""One watcher's stream of one job: the snapshot, its events and progress, beats, and the end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.api.database_errors import DATABASE_TROUBLE
from headrace.api.jobs.schemas import JobView
from headrace.api.live.frames import Beat, End, Frame, Hello, bye, error, framed, signed_out, with_skipped
from headrace.api.live.hub import Hub
from headrace.api.live.stream import Stream
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.feed import Feed
from headrace.domain.events.log import MAX_PAGE_EVENTS
from headrace.domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError

_DATABASE_RETRY_SECONDS: Final = 1.0
# The most that a watcher holds while it sends. A slow watcher reads the rest from the log later.
GROUP_BYTES: Final = 32 * 1024
_FIRST_PAGE: Final = 100
_MIN_PAGE: Final = 8


class Snapshot(Struct, frozen=True):
    """The job when the stream begins, and its newest progress frame."""

    job: JobView
    progress: bytes | None


class JobStream(Stream):
    """Yields every event past the cursor once and in order, with progress and beats in between."""

    def __init__(
        self, job_id: UUID, after: int, hub: Hub, load_snapshot: Callable[[], Awaitable[Snapshot | None]]
    ) -> None:
        """Begin past event *after*. *load_snapshot* returns None if this watcher may not see the job."""
        super().__init__()
        self._job_id = job_id
        self._hub = hub
        self._load_snapshot = load_snapshot
        self._head = 0
        self._page = _FIRST_PAGE
        self._feed: Feed | None = None
        self._progress_no = 0
        self.cursor = after

    def resume(self, after: int) -> None:
        """Continue past event *after*.

        Raises:
            CursorBeyondHeadError: the event has not happened yet.
        """
        if after > self._head:
            raise CursorBeyondHeadError(after, self._head)
        self.cursor = after
        self._heartbeat.wake.set()

    async def frames(self) -> AsyncIterator[list[Frame]]:
        """Yield the frames in groups that are ready together, up to and with the last one.

        Raises:
            JobNotFoundError: the job does not exist, or this watcher may not see it.
            CursorBeyondHeadError: the cursor is beyond the newest event.
            DatabaseAwayError: PostgreSQL is away, so the stream cannot begin.
        """
        # Subscribe before reading the job, so that no event falls between the two.
        async with self._hub.watch(self._job_id, self._on_change) as feed:
            snapshot = await self._load_snapshot()
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
        self._heartbeat.restart()
        while True:
            group = self._heartbeat.drain_answers()
            events = await self._next_events(feed)
            if events:
                self.cursor = events[-1].seq
                group += [Frame(event.frame, event.seq) for event in events]
            self._head = max(self._head, feed.head, self.cursor)
            last_frame = self._last_frame(feed)
            if last_frame is not None:
                yield [*group, last_frame]
                return
            new_progress = feed.progress_no - self._progress_no
            if self.cursor >= feed.head and feed.progress is not None and new_progress:
                self._progress_no = feed.progress_no
                group.append(Frame(with_skipped(feed.progress, new_progress - 1)))
            group += self._due_beats()
            if group:
                yield group
            else:
                await self._heartbeat.wait()

    def _on_change(self) -> None:
        """Write the feed's new events at once if that is possible, else wake `frames`."""
        if not self._write_directly():
            self._heartbeat.wake.set()

    def _write_directly(self) -> bool:
        """Write new events within the feed's own turn; False if other frames are due or there is no room."""
        feed, writer = self._feed, self.direct_writer
        if feed is None or writer is None or not self._heartbeat.is_idle:
            return False
        if feed.progress_no != self._progress_no or self._is_over(feed):
            return False
        packet = feed.cached_packet(self.cursor, writer.encode_packet, GROUP_BYTES)
        if packet is None or not writer.write(packet):
            return False
        self.frames_sent += feed.head - self.cursor
        self.cursor = self._head = feed.head
        return True

    def _is_over(self, feed: Feed) -> bool:
        return self._hub.is_closing or self._is_signed_out or feed.is_deleted or feed.final_state is not None

    def _last_frame(self, feed: Feed) -> Frame | None:
        """Return the frame that ends the stream; None while it goes on."""
        if self._is_signed_out:
            self.end_reason = "signed_out"
            return signed_out()
        if self._hub.is_closing:
            self.end_reason = "closing"
            return bye()
        if feed.is_deleted:
            self.end_reason = "deleted"
            return error("job_deleted", "the job was deleted")
        if self.cursor >= feed.head and feed.final_state is not None:
            self.end_reason = "ended"
            return framed(End(state=feed.final_state))
        return None

    async def _next_events(self, feed: Feed) -> Sequence[LoggedEvent]:
        events = feed.after(self.cursor, GROUP_BYTES)
        if events is not None:
            return events
        try:
            events = await self._hub.log.read_after(self._job_id, self.cursor, self._page, GROUP_BYTES)
        except DATABASE_TROUBLE:
            await asyncio.sleep(_DATABASE_RETRY_SECONDS)
            self.answer(self._next_beat())
            return []
        # PostgreSQL reads a whole page of rows, also those that GROUP_BYTES then leaves out.
        self._page = min(max(2 * len(events), _MIN_PAGE), MAX_PAGE_EVENTS)
        return events

    def _make_beat(self) -> Frame:
        return framed(Beat(head=self._head, degraded=self._hub.is_degraded))

    def _hello(self, snapshot: Snapshot, progress: bytes | None) -> list[Frame]:
        job = snapshot.job
        frames = [framed(Hello(job_id=job.id, head=job.event_seq, job=job))]
        if job.state == "running" and progress is not None:
            frames.append(Frame(progress))
        return frames
