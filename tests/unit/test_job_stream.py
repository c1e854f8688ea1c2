"""The frames that one watcher receives, also when it reads slowly."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from headrace.api.jobs.schemas import JobView
from headrace.api.live.direct_writer import DirectWriter, PacketEncoder, encode_batch, encode_each
from headrace.api.live.hub import Hub
from headrace.api.live.job_stream import GROUP_BYTES, JobStream, Snapshot
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.feed import Feed
from headrace.domain.events.log import Head
from headrace.domain.events.observable import Callback

JOB = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 1000
SECONDS = 5


def event(seq: int, kind: str = "log") -> LoggedEvent:
    padding = "x" * SIZE
    return LoggedEvent(seq, kind, f'{{"type":"{kind}","seq":{seq},"message":"{padding}"}}'.encode())


def progress(fraction: float) -> bytes:
    return msgspec.json.encode({"type": "progress", "fraction": fraction})


class MemoryLog:
    """Return the events up to *head*; *max_bytes* is the largest size requested at once."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.max_bytes = 0

    async def read_after(
        self,
        job_id: UUID,  # noqa: ARG002
        after: int,
        limit: int = 500,
        max_bytes: int = 2**40,
    ) -> list[LoggedEvent]:
        self.max_bytes = max(self.max_bytes, max_bytes)
        count = min(limit, max(1, max_bytes // SIZE), self.head - after)
        return [event(seq) for seq in range(after + 1, after + 1 + count)]

    async def fetch_heads(self, job_ids: Sequence[UUID]) -> dict[UUID, Head]:  # noqa: ARG002
        return {JOB: Head(self.head, "running")}


class OneJob:
    """A hub with one feed."""

    is_closing = False
    is_degraded = False

    def __init__(self, head: int) -> None:
        self.log = MemoryLog(head)
        self.feed = Feed()
        self.feed.begin(head, None)

    @asynccontextmanager
    async def watch(self, job_id: UUID, on_change: Callback) -> AsyncIterator[Feed]:  # noqa: ARG002
        self.feed.watch(on_change)
        yield self.feed


def view(head: int) -> JobView:
    return JobView(
        id=JOB,
        owner_id=JOB,
        pipeline="noop",
        version=1,
        state="running",
        waiting_for=None,
        params={},
        result=None,
        error=None,
        progress=0.0,
        attempt=1,
        max_attempts=None,
        timeout_seconds=None,
        priority=5,
        queue="default",
        run_at=NOW,
        created_at=NOW,
        started_at=NOW,
        finished_at=None,
        cancel_requested_at=None,
        event_seq=head,
        tags=[],
        meta={},
    )


class Connection:
    """A connection that accepts whole messages while it has room."""

    def __init__(self) -> None:
        self.has_room = True
        self.taken = b""

    def write_messages(self, data: bytes, messages: int) -> bool:  # noqa: ARG002
        if self.has_room:
            self.taken += data
        return self.has_room


class Watching:
    """Reads a stream group by group."""

    def __init__(self, hub: OneJob, after: int) -> None:
        async def load() -> Snapshot:
            return Snapshot(view(hub.log.head), None)

        self.stream = JobStream(JOB, after, cast("Hub", hub), load)
        self._groups = self.stream.frames()

    async def group(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(SECONDS):
            self.raw = [frame.data for frame in await anext(self._groups)]
        return [msgspec.json.decode(data) for data in self.raw]


async def test_frames_that_were_replaced_before_they_were_sent_are_counted_in_the_next() -> None:
    hub = OneJob(head=1)
    watching = Watching(hub, after=1)
    await watching.group()

    for fraction in (0.1, 0.2, 0.3):
        hub.feed.update_progress(1, fraction, progress(fraction))
    replaced = await watching.group()
    hub.feed.update_progress(1, 0.4, progress(0.4))
    alone = await watching.group()

    assert replaced == [{"type": "progress", "fraction": 0.3, "skipped": 2}]
    assert alone == [{"type": "progress", "fraction": 0.4}]


async def test_each_watcher_counts_for_itself() -> None:
    hub = OneJob(head=1)
    quick, slow = Watching(hub, after=1), Watching(hub, after=1)
    for watching in (quick, slow):
        await watching.group()

    hub.feed.update_progress(1, 0.1, progress(0.1))
    await quick.group()
    hub.feed.update_progress(1, 0.2, progress(0.2))

    assert "skipped" not in (await quick.group())[0]
    assert (await slow.group())[0]["skipped"] == 1


async def test_a_watcher_that_is_behind_holds_little_and_misses_nothing() -> None:
    hub = OneJob(head=300)
    hub.feed.append([event(seq) for seq in range(301, 400)])
    hub.log.head = 399
    watching = Watching(hub, after=0)
    await watching.group()

    seen: list[int] = []
    largest = 0
    while not seen or seen[-1] < 399:
        seen += [frame["seq"] for frame in await watching.group()]
        largest = max(largest, sum(map(len, watching.raw)))

    assert seen == list(range(1, 400))
    assert largest <= GROUP_BYTES + 2 * SIZE
    assert hub.log.max_bytes == GROUP_BYTES


async def test_progress_waits_until_the_watcher_has_seen_what_was_before_it() -> None:
    hub = OneJob(head=100)
    hub.feed.update_progress(1, 0.1, progress(0.1))
    watching = Watching(hub, after=0)
    await watching.group()
    hub.feed.update_progress(1, 0.2, progress(0.2))
    hub.feed.update_progress(1, 0.3, progress(0.3))

    types: list[str] = []
    while "progress" not in types:
        group = await watching.group()
        types += [frame["type"] for frame in group]

    assert types == ["log"] * 100 + ["progress"]
    assert group[-1]["skipped"] == 1


@pytest.mark.parametrize("encode_packet", [encode_each, encode_batch])
async def test_a_watcher_at_rest_is_handed_new_events_in_the_same_turn(encode_packet: PacketEncoder) -> None:
    hub, connection = OneJob(head=1), Connection()
    watching = Watching(hub, after=1)
    watching.stream.direct_writer = DirectWriter(connection, encode_packet)
    await watching.group()
    resting = asyncio.create_task(watching.group())
    await asyncio.sleep(0)
    events = [event(2), event(3)]

    hub.feed.append(events)

    assert connection.taken == encode_packet([event.frame for event in events]).data
    assert watching.stream.cursor == 3
    hub.feed.update_progress(1, 0.1, progress(0.1))
    assert await resting == [{"type": "progress", "fraction": 0.1}]


async def test_what_a_full_line_does_not_take_comes_in_its_turn() -> None:
    hub, connection = OneJob(head=1), Connection()
    watching = Watching(hub, after=1)
    watching.stream.direct_writer = DirectWriter(connection, encode_each)
    await watching.group()
    resting = asyncio.create_task(watching.group())
    await asyncio.sleep(0)
    connection.has_room = False

    hub.feed.append([event(2)])
    hub.feed.append([event(3)])

    assert [frame["seq"] for frame in await resting] == [2, 3]
    assert connection.taken == b""


async def test_the_end_is_not_handed_on_without_the_frame_that_says_so() -> None:
    hub, connection = OneJob(head=1), Connection()
    watching = Watching(hub, after=1)
    watching.stream.direct_writer = DirectWriter(connection, encode_each)
    await watching.group()
    resting = asyncio.create_task(watching.group())
    await asyncio.sleep(0)

    hub.feed.append([event(2, "job.succeeded")])

    assert [frame["type"] for frame in await resting] == ["job.succeeded", "end"]
    assert connection.taken == b""
