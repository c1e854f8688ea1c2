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
from support.patience import PATIENCE_SECONDS

JOB = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 1000


def event(seq: int, kind: str = "log") -> LoggedEvent:
    padding = "x" * SIZE
    return LoggedEvent(seq, kind, f'{{"type":"{kind}","seq":{seq},"message":"{padding}"}}'.encode())


def progress(fraction: float) -> bytes:
    return msgspec.json.encode({"type": "progress", "fraction": fraction})


class MemoryLog:
    """A log with the events up to *head*; *max_bytes* is the largest size requested at once."""

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
        keep=False,
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
        self.written = b""

    def write_messages(self, data: bytes, messages: int) -> bool:  # noqa: ARG002
        if self.has_room:
            self.written += data
        return self.has_room


class Watching:
    """Reads a stream group by group."""

    def __init__(self, hub: OneJob, after: int) -> None:
        async def load() -> Snapshot:
            return Snapshot(view(hub.log.head), None)

        self.stream = JobStream(JOB, after, cast("Hub", hub), load)
        self._groups = self.stream.frames()

    async def group(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            self.raw = [frame.data for frame in await anext(self._groups)]
        return [msgspec.json.decode(data) for data in self.raw]


async def test_replaced_progress_frames_are_counted_in_the_next_frame() -> None:
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


async def test_each_watcher_counts_its_own_skipped_frames() -> None:
    hub = OneJob(head=1)
    quick, slow = Watching(hub, after=1), Watching(hub, after=1)
    for watching in (quick, slow):
        await watching.group()

    hub.feed.update_progress(1, 0.1, progress(0.1))
    await quick.group()
    hub.feed.update_progress(1, 0.2, progress(0.2))

    assert "skipped" not in (await quick.group())[0]
    assert (await slow.group())[0]["skipped"] == 1


async def test_a_watcher_that_is_behind_gets_all_events_in_groups_of_bounded_size() -> None:
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


async def test_progress_is_sent_after_all_earlier_events() -> None:
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
async def test_an_idle_watcher_gets_new_events_in_the_same_loop_turn(encode_packet: PacketEncoder) -> None:
    hub, connection = OneJob(head=1), Connection()
    watching = Watching(hub, after=1)
    watching.stream.direct_writer = DirectWriter(connection, encode_packet)
    await watching.group()
    waiting = asyncio.create_task(watching.group())
    await asyncio.sleep(0)
    events = [event(2), event(3)]

    hub.feed.append(events)

    assert connection.written == encode_packet([event.frame for event in events]).data
    assert watching.stream.cursor == 3
    hub.feed.update_progress(1, 0.1, progress(0.1))
    assert await waiting == [{"type": "progress", "fraction": 0.1}]


async def test_events_that_a_full_connection_refused_are_sent_in_order() -> None:
    hub, connection = OneJob(head=1), Connection()
    watching = Watching(hub, after=1)
    watching.stream.direct_writer = DirectWriter(connection, encode_each)
    await watching.group()
    waiting = asyncio.create_task(watching.group())
    await asyncio.sleep(0)
    connection.has_room = False

    hub.feed.append([event(2)])
    hub.feed.append([event(3)])

    assert [frame["seq"] for frame in await waiting] == [2, 3]
    assert connection.written == b""


async def test_the_final_event_is_sent_together_with_the_end_frame() -> None:
    hub, connection = OneJob(head=1), Connection()
    watching = Watching(hub, after=1)
    watching.stream.direct_writer = DirectWriter(connection, encode_each)
    await watching.group()
    waiting = asyncio.create_task(watching.group())
    await asyncio.sleep(0)

    hub.feed.append([event(2, "job.succeeded")])

    assert [frame["type"] for frame in await waiting] == ["job.succeeded", "end"]
    assert connection.written == b""
