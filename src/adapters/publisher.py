"""News on their way to Redis pub/sub, after a commit. What gathers travels together, to those who listen."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis

from headrace.adapters.event_bus import EventsMessage, ProgressMessage, encode, job_channel
from headrace.adapters.redis_client import REDIS_ERRORS
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import ProgressFrame

_log = structlog.get_logger(__name__)

_MOST_WAITING: Final = 10_000
_MOST_AT_ONCE: Final = 500
_PAUSE_SECONDS: Final = 0.2
# Few news are told at once; many are made up only for those channels that somebody listens to.
_MOST_UNASKED: Final = 16

# One command of ours however many messages there are.
_PUBLISH: Final = """
for place = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[place], ARGV[place + 1])
end
"""


def owner_channel(owner_id: UUID) -> str:
    return f"headrace:owner:{owner_id}"


class RedisPublisher:
    """Publishes over Redis: one message a job, one an owner. `run` is its background task."""

    def __init__(self, redis: Redis | None) -> None:
        """None: no Redis is configured, and nothing is published."""
        self._redis = redis
        self._news: list[JobNews] = []
        self._progress: dict[UUID, ProgressFrame] = {}
        self._wake = asyncio.Event()

    def publish(self, news: Sequence[JobNews]) -> None:
        if self._redis is not None and len(self._news) < _MOST_WAITING:
            self._news += news
            self._wake.set()

    def publish_progress(self, job_id: UUID, frame: ProgressFrame) -> None:
        if self._redis is not None and len(self._progress) < _MOST_WAITING:
            self._progress[job_id] = frame
            self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; while Redis is away news are dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._news or self._progress:
                try:
                    await self._send()
                except REDIS_ERRORS as error:
                    self._news.clear()
                    self._progress.clear()
                    _log.warning("news_dropped", error=type(error).__name__)
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def drain(self) -> None:
        """Publish what still waits; for the end of a process."""
        with contextlib.suppress(*REDIS_ERRORS):
            while self._news or self._progress:
                await self._send()

    async def _send(self) -> None:
        if self._redis is None:
            return
        news, self._news = self._news[:_MOST_AT_ONCE], self._news[_MOST_AT_ONCE:]
        progress, self._progress = self._progress, {}
        if self._news:
            # It would overtake the events before it.
            held_back = {one.job_id for one in self._news} & progress.keys()
            self._progress = {job_id: progress.pop(job_id) for job_id in held_back}
        try:
            heard = None
            if len(news) + len(progress) > _MOST_UNASKED:
                heard = await _heard(self._redis, news, progress)
            messages = _messages(news, progress, heard)
            if messages:
                await self._redis.execute_command("EVAL", _PUBLISH, 0, *messages)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            # The end of the process: `drain` tells them.
            self._news = [*news, *self._news]
            self._progress = progress | self._progress
            raise


async def _heard(redis: Redis, news: Sequence[JobNews], progress: Mapping[UUID, ProgressFrame]) -> set[UUID]:
    """The jobs and owners that somebody listens to. Who comes later reads in the log what is not told."""
    channels = {job_id: job_channel(job_id) for job_id in progress}
    for one in news:
        channels[one.job_id] = job_channel(one.job_id)
        if one.owner_id not in channels:
            channels[one.owner_id] = owner_channel(one.owner_id)
    answer = await redis.pubsub_numsub(*channels.values())
    return {who for who, (_, listeners) in zip(channels, answer, strict=True) if listeners}


def _messages(
    news: Sequence[JobNews], progress: Mapping[UUID, ProgressFrame], heard: set[UUID] | None
) -> list[str | bytes]:
    """Channels and messages in turn, for the jobs and owners that are *heard*; None: all are."""
    events: dict[UUID, list[LoggedEvent]] = {}
    owners: dict[UUID, dict[UUID, JobNews]] = {}
    for one in news if heard is None or heard else ():
        if heard is None or one.job_id in heard:
            events.setdefault(one.job_id, []).extend(one.logged())
        if heard is None or one.owner_id in heard:
            owners.setdefault(one.owner_id, {})[one.job_id] = one
    messages: list[str | bytes] = []
    for job_id, logged in events.items():
        messages += (job_channel(job_id), encode(EventsMessage(logged)))
    for job_id, frame in progress.items():
        if heard is not None and job_id not in heard:
            continue
        encoded = msgspec.json.encode(frame)
        message = ProgressMessage(frame.attempt, frame.fence, frame.fraction, encoded)
        messages += (job_channel(job_id), encode(message))
    for owner_id, newest in owners.items():
        summaries = [one.summary for one in newest.values()]
        messages += (owner_channel(owner_id), msgspec.json.encode(summaries))
    return messages
