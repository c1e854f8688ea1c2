"""Publishes news about jobs to Redis pub/sub after a commit, in batches and only to listened channels."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis

from headrace.adapters.listeners import Listeners, job_channel, owner_channel
from headrace.adapters.messages import (
    MAX_MESSAGE_BYTES,
    EventsMessage,
    Message,
    MessageSigner,
    ProgressMessage,
    SummariesMessage,
)
from headrace.adapters.redis_client import REDIS_ERRORS, report_failure
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.news import FrameSource, JobNews

_log = structlog.get_logger(__name__)

_MAX_WAITING: Final = 10_000
_MAX_BATCH: Final = 500
_PAUSE_SECONDS: Final = 0.2
# Larger batches are first checked for listeners, because encoding them costs more than the check.
_MAX_UNCHECKED: Final = 16

# Publishes any number of messages with one command.
_PUBLISH: Final = """
for place = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[place], ARGV[place + 1])
end
"""


class RedisPublisher:
    """Publishes one message per job and one per owner. `run` is its background task."""

    def __init__(self, redis: Redis | None, signer: MessageSigner) -> None:
        """Without Redis (None) nothing is published."""
        self._redis = redis
        self._signer = signer
        self._listeners = None if redis is None else Listeners(redis)
        self._news: list[JobNews] = []
        self._progress: dict[UUID, FrameSource] = {}
        self._wake = asyncio.Event()

    def publish(self, news: Sequence[JobNews]) -> None:
        if self._redis is not None and len(self._news) < _MAX_WAITING:
            self._news += news
            self._wake.set()

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None:
        if self._redis is not None and len(self._progress) < _MAX_WAITING:
            self._progress[job_id] = frame
            self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled. While Redis is away, news is dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._news or self._progress:
                try:
                    await self._send()
                except REDIS_ERRORS as error:
                    self._news.clear()
                    self._progress.clear()
                    report_failure(self._redis, error)
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def drain(self) -> None:
        """Publish the remaining news, before the process ends."""
        with contextlib.suppress(*REDIS_ERRORS):
            while self._news or self._progress:
                await self._send()

    async def _send(self) -> None:
        if self._redis is None or self._listeners is None:
            return
        news, self._news = self._news[:_MAX_BATCH], self._news[_MAX_BATCH:]
        progress, self._progress = self._progress, {}
        if self._news:
            # Their progress must not overtake the events that still wait.
            held_back = {item.job_id for item in self._news} & progress.keys()
            self._progress = {job_id: progress.pop(job_id) for job_id in held_back}
        try:
            listened = None
            if len(news) + len(progress) > _MAX_UNCHECKED:
                # Later listeners read the log instead.
                listened = await self._listeners.find(
                    {item.job_id for item in news} | progress.keys(), {item.owner_id for item in news}
                )
            messages = self._encode(_messages(news, progress, listened))
            if messages:
                await self._redis.execute_command("EVAL", _PUBLISH, 0, *messages)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            # The process ends: `drain` publishes them.
            self._news = [*news, *self._news]
            self._progress = progress | self._progress
            raise

    def _encode(self, messages: Iterable[tuple[str, Message]]) -> list[str | bytes]:
        """Return channels and signed messages in turn. Watchers read too large ones from the log."""
        encoded: list[str | bytes] = []
        for channel, message in messages:
            raw = self._signer.encode(channel, message)
            if len(raw) > MAX_MESSAGE_BYTES:
                _log.warning("message_too_large", channel=channel, size=len(raw))
            else:
                encoded += (channel, raw)
        return encoded


def _messages(
    news: Sequence[JobNews], progress: Mapping[UUID, FrameSource], listened: set[UUID] | None
) -> Iterator[tuple[str, Message]]:
    """Yield the messages for the jobs and owners in *listened*, with their channels; None means all."""
    events: dict[UUID, list[LoggedEvent]] = {}
    owners: dict[UUID, dict[UUID, JobNews]] = {}
    for item in news if listened is None or listened else ():
        if listened is None or item.job_id in listened:
            events.setdefault(item.job_id, []).extend(item.logged())
        if listened is None or item.owner_id in listened:
            owners.setdefault(item.owner_id, {})[item.job_id] = item
    for job_id, logged in events.items():
        yield job_channel(job_id), EventsMessage(logged)
    for job_id, frame in progress.items():
        if listened is not None and job_id not in listened:
            continue
        current = frame()
        encoded = msgspec.json.encode(current)
        yield job_channel(job_id), ProgressMessage(current.attempt, current.fence, current.fraction, encoded)
    for owner_id, newest in owners.items():
        at = max(item.at for item in newest.values())
        yield owner_channel(owner_id), SummariesMessage(at, [item.summary for item in newest.values()])
