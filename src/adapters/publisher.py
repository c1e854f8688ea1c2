"""News on their way to Redis pub/sub, after a commit. What gathers travels in one round trip."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis

from adapters.event_bus import EventsHeard, ProgressHeard, encode, job_channel
from adapters.redis_link import AWAY
from domain.events.news import JobNews, JobSummary
from domain.events.types import LoggedEvent, ProgressFrame

_log = structlog.get_logger(__name__)

_MOST_WAITING: Final = 10_000
_MOST_AT_ONCE: Final = 500
_PAUSE_SECONDS: Final = 0.2

# One command of ours however many messages there are.
_PUBLISH: Final = """
for place = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[place], ARGV[place + 1])
end
"""


def owner_channel(owner_id: UUID) -> str:
    return f"headrace:owner:{owner_id}"


class _Waiting(msgspec.Struct):
    """What is to be told of one job: its events in order, its newest summary and its newest progress."""

    events: list[LoggedEvent] = []
    news: JobNews | None = None
    progress: ProgressFrame | None = None


class RedisPublisher:
    """`domain.events.news.Publisher` over Redis: one message a job, one an owner. `run` is its task."""

    def __init__(self, redis: Redis | None) -> None:
        """None: no Redis is configured, and nothing is published."""
        self._redis = redis
        self._waiting: dict[UUID, _Waiting] = {}
        self._wake = asyncio.Event()

    def publish(self, news: Sequence[JobNews]) -> None:
        for one in news:
            waiting = self._of(one.job_id)
            if waiting is not None:
                waiting.events += one.events
                waiting.news = one

    def publish_progress(self, job_id: UUID, frame: ProgressFrame) -> None:
        waiting = self._of(job_id)
        if waiting is not None:
            waiting.progress = frame

    def _of(self, job_id: UUID) -> _Waiting | None:
        if self._redis is None:
            return None
        waiting = self._waiting.get(job_id)
        if waiting is None:
            if len(self._waiting) >= _MOST_WAITING:
                return None
            waiting = self._waiting[job_id] = _Waiting()
            self._wake.set()
        return waiting

    async def run(self) -> None:
        """Publish until cancelled; while Redis is away news are dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                try:
                    await self._send()
                except AWAY as error:
                    self._waiting.clear()
                    _log.warning("news_dropped", error=type(error).__name__)
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def drain(self) -> None:
        """Publish what still waits; for the end of a process."""
        with contextlib.suppress(*AWAY):
            while self._waiting:
                await self._send()

    async def _send(self) -> None:
        if self._redis is None:
            return
        if len(self._waiting) <= _MOST_AT_ONCE:
            batch, self._waiting = self._waiting, {}
        else:
            batch = {job_id: self._waiting.pop(job_id) for job_id in list(self._waiting)[:_MOST_AT_ONCE]}
        await self._redis.execute_command("EVAL", _PUBLISH, 0, *_messages(batch))  # type: ignore[no-untyped-call]


def _messages(batch: dict[UUID, _Waiting]) -> list[str | bytes]:
    """Channels and messages in turn."""
    messages: list[str | bytes] = []
    owners: dict[UUID, list[JobSummary]] = {}
    for job_id, waiting in batch.items():
        channel = job_channel(job_id)
        if waiting.events:
            messages += (channel, encode(EventsHeard(waiting.events)))
        if (frame := waiting.progress) is not None:
            encoded = msgspec.json.encode(frame)
            messages += (
                channel,
                encode(ProgressHeard(frame.attempt, frame.fence, frame.fraction, encoded)),
            )
        if (news := waiting.news) is not None:
            owners.setdefault(news.owner_id, []).append(
                JobSummary(
                    job_id=job_id,
                    head=news.head,
                    state=news.state,
                    progress=news.progress,
                    pipeline=news.pipeline,
                )
            )
    for owner_id, summaries in owners.items():
        messages += (owner_channel(owner_id), msgspec.json.encode(summaries))
    return messages
