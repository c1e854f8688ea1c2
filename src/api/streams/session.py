"""One watcher of one job: the frames in the order in which they are sent, whatever carries them."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from api.schemas import JobView
from api.streams.hub import Hub
from domain.database import TRANSIENT
from domain.events.feed import Feed
from domain.events.types import LoggedEvent
from domain.jobs.errors import CursorBeyondHeadError, JobNotFoundError

_BEAT_SECONDS: Final = 5.0
_AWAY_PAUSE_SECONDS: Final = 1.0
_MOST_REPLIES: Final = 64

encode: Final = msgspec.json.Encoder().encode


class Frame(Struct, frozen=True):
    """One frame; *seq* is there on events only."""

    data: bytes
    seq: int | None = None


class Snapshot(Struct, frozen=True):
    """The job as it was when the stream began, and its newest progress frame."""

    job: JobView
    progress: bytes | None


End = Literal["ended", "deleted", "closing"]


class Session:
    """Yields every event past the cursor once, in order, and between them what else a watcher should know."""

    def __init__(
        self, job_id: UUID, after: int, hub: Hub, load: Callable[[], Awaitable[Snapshot | None]]
    ) -> None:
        """*load* reads the snapshot, and only of a job that this watcher may see."""
        self._job_id = job_id
        self._hub = hub
        self._load = load
        self._wake = asyncio.Event()
        self._replies: deque[Frame] = deque()
        self._head = 0
        self._beat_at = 0.0
        self.cursor = after
        self.frames_sent = 0
        self.end: End | None = None

    def reply(self, body: dict[str, Any]) -> None:
        """Send *body* between the other frames; what is asked without reading is not answered for ever."""
        if len(self._replies) < _MOST_REPLIES:
            self._replies.append(Frame(encode(body)))
            self._wake.set()

    def resume(self, after: int) -> None:
        """Go on from another cursor.

        Raises:
            CursorBeyondHeadError: it has not happened yet.
        """
        if after > self._head:
            raise CursorBeyondHeadError(after, self._head)
        self.cursor = after
        self._wake.set()

    async def frames(self) -> AsyncIterator[list[Frame]]:
        """The frames, in groups that are ready together, up to and with the last one.

        Raises:
            JobNotFoundError: no such job, or not this watcher's.
            CursorBeyondHeadError: the cursor is beyond the newest event.
            DatabaseAwayError: the stream could not begin.
        """
        # Listen before reading the log, so that nothing falls between the two.
        async with self._hub.watch(self._job_id, self._wake) as feed:
            snapshot = await self._load()
            if snapshot is None:
                raise JobNotFoundError(self._job_id)
            self._head = snapshot.job.event_seq
            if self.cursor > self._head:
                raise CursorBeyondHeadError(self.cursor, self._head)
            progress_no = feed.progress_no
            yield self._count(self._hello(snapshot, feed.progress or snapshot.progress))
            async for group in self._follow(feed, progress_no):
                yield self._count(group)

    async def _follow(self, feed: Feed, progress_no: int) -> AsyncIterator[list[Frame]]:
        """*progress_no* is the progress that the watcher knows."""
        self._beat_at = asyncio.get_running_loop().time()
        while True:
            self._wake.clear()
            group = list(self._replies)
            self._replies.clear()
            events = await self._next_events(feed)
            if events:
                self.cursor = events[-1].seq
                group += [Frame(event.frame, event.seq) for event in events]
            self._head = max(self._head, feed.head, self.cursor)
            if self._hub.is_closing:
                self.end = "closing"
                yield [*group, _bye()]
                return
            if feed.is_deleted:
                self.end = "deleted"
                body = {"type": "error", "code": "job_deleted", "message": "the job was deleted"}
                yield [*group, Frame(encode(body))]
                return
            at_head = self.cursor >= feed.head
            if at_head and feed.final_state is not None:
                self.end = "ended"
                yield [*group, Frame(encode({"type": "end", "state": feed.final_state}))]
                return
            if at_head and feed.progress is not None and feed.progress_no != progress_no:
                progress_no = feed.progress_no
                group.append(Frame(feed.progress))
            if asyncio.get_running_loop().time() - self._beat_at >= _BEAT_SECONDS:
                group.append(self._beat())
            if group:
                yield group
            else:
                await self._woken()

    async def _next_events(self, feed: Feed) -> list[LoggedEvent]:
        events = feed.after(self.cursor)
        if events is not None:
            return events
        try:
            return await self._hub.log.read_after(self._job_id, self.cursor)
        except TRANSIENT:
            await asyncio.sleep(_AWAY_PAUSE_SECONDS)
            self._replies.append(self._beat())
            self._wake.set()
            return []

    def _beat(self) -> Frame:
        self._beat_at = asyncio.get_running_loop().time()
        return Frame(encode({"type": "beat", "head": self._head, "degraded": self._hub.is_degraded}))

    async def _woken(self) -> None:
        """Wait for something to send, or until it is time for a beat."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._beat_at + _BEAT_SECONDS):
                await self._wake.wait()

    def _hello(self, snapshot: Snapshot, progress: bytes | None) -> list[Frame]:
        job = snapshot.job
        hello = {"type": "hello", "job_id": job.id, "head": job.event_seq, "job": job}
        frames = [Frame(encode(hello))]
        if job.state == "running" and progress is not None:
            frames.append(Frame(progress))
        return frames

    def _count(self, group: list[Frame]) -> list[Frame]:
        self.frames_sent += len(group)
        return group


def _bye() -> Frame:
    """The jitter keeps those who come back from coming all at once."""
    return Frame(encode({"type": "bye", "retry_after": round(random.uniform(0.1, 3.0), 2)}))  # noqa: S311
