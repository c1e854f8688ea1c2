"""News over Redis pub/sub, heard by each API process over one connection.

Messages are hints. Whoever misses one finds out from PostgreSQL.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from headrace.adapters.redis_client import REDIS_ERRORS
from headrace.adapters.retry_pause import RetryPause
from headrace.domain.events.encoding import LoggedEvent

_log = structlog.get_logger(__name__)

_MIN_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 2.0
_CONFIRM_SECONDS: Final = 1.0
_COMMAND_SECONDS: Final = 5.0
_KEEP_ALIVE: Final = "headrace:hub"


class EventsMessage(Struct, frozen=True, array_like=True, tag="e"):
    """Events of one job, in order, as they stand in the log."""

    events: list[LoggedEvent]


class ProgressMessage(Struct, frozen=True, array_like=True, tag="p"):
    """A job's newest progress frame."""

    attempt: int
    fence: int
    fraction: float
    frame: bytes


JobMessage = EventsMessage | ProgressMessage

encode: Final = msgspec.msgpack.Encoder().encode
decode_message: Final = msgspec.msgpack.Decoder(EventsMessage | ProgressMessage).decode
"""Reads a message of a job's channel; raises `msgspec.MsgspecError`."""

Listener = Callable[[bytes], None]


def job_channel(job_id: UUID) -> str:
    return f"headrace:job:{job_id}"


class EventBus:
    """The one pub/sub connection of an API process. `run` is its one task.

    *on_reconnect* are called after every time that something may have been missed.
    """

    def __init__(self, redis: Redis | None) -> None:
        self._redis = redis
        self._channels: dict[str, Listener] = {}
        self.on_reconnect: list[Callable[[], None]] = []
        self._confirmations: dict[str, asyncio.Event] = {}
        # What this connection is known to hear.
        self._heard: set[str] = set()
        self._pubsub: PubSub | None = None
        # One command at a time: an unsubscribe that overtakes the next subscribe would silence a listener.
        self._commands = asyncio.Lock()

    @property
    def has_redis(self) -> bool:
        return self._redis is not None

    @property
    def is_connected(self) -> bool:
        return self._pubsub is not None

    @property
    def is_away(self) -> bool:
        """Whether there should be a connection and is none."""
        return self.has_redis and not self.is_connected

    async def subscribe(self, channel: str, listener: Listener) -> bool:
        """Listen to a channel; True once Redis has confirmed it, False when it does not within a second."""
        self._channels[channel] = listener
        pubsub = self._pubsub
        if pubsub is None:
            return False
        confirmed = self._confirmations.setdefault(channel, asyncio.Event())
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                async with self._commands:
                    # One that was closed meanwhile would open a connection that nobody listens to.
                    if self._pubsub is not pubsub:
                        return False
                    await pubsub.subscribe(channel)
                await confirmed.wait()
        except REDIS_ERRORS:
            return False
        except Exception as error:  # noqa: BLE001  (what redis-py raises of a connection that dies under it)
            _log.warning("subscribe_failed", error=repr(error))
            return False
        finally:
            self._confirmations.pop(channel, None)
        return True

    async def resubscribe(self) -> None:
        """Subscribe again where no confirmation has come: a command may be lost, or have had no turn."""
        missing = self._channels.keys() - self._heard
        if not missing:
            return
        try:
            async with asyncio.timeout(_COMMAND_SECONDS), self._commands:
                if self._pubsub is not None:
                    await self._pubsub.subscribe(*missing)
        except Exception as error:  # noqa: BLE001  (see `subscribe`)
            _log.warning("subscribe_failed", error=repr(error))

    async def unsubscribe(self, channel: str) -> None:
        self._channels.pop(channel, None)
        self._heard.discard(channel)
        try:
            async with asyncio.timeout(_COMMAND_SECONDS), self._commands:
                if self._pubsub is not None and channel not in self._channels:
                    await self._pubsub.unsubscribe(channel)
        except Exception as error:  # noqa: BLE001  (see `subscribe`; what is still heard, nobody listens to)
            _log.warning("unsubscribe_failed", error=repr(error))

    async def run(self) -> None:
        """Listen until cancelled, connecting again whenever the connection goes."""
        if self._redis is None:
            return
        pause = RetryPause(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
        while True:
            pubsub = self._redis.pubsub()
            try:
                self._heard.clear()
                channels = set(self._channels)
                async with asyncio.timeout(5), self._commands:
                    await pubsub.subscribe(_KEEP_ALIVE, *channels)
                    self._pubsub = pubsub
                    # Whoever came while the connection was being made has only left a name.
                    if missed := self._channels.keys() - channels:
                        await pubsub.subscribe(*missed)
                for call in self.on_reconnect:
                    call()
                pause.reset()
                await self._listen(pubsub)
            except REDIS_ERRORS as error:
                _log.warning("pubsub_away", error=type(error).__name__)
            finally:
                self._pubsub = None
                with contextlib.suppress(*REDIS_ERRORS):
                    async with asyncio.timeout(_CONFIRM_SECONDS * 2), self._commands:
                        await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(pause.next_seconds())

    async def _listen(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(timeout=30)
            if message is None:
                async with asyncio.timeout(5):
                    await pubsub.ping()
                continue
            if message["type"] not in ("subscribe", "message"):
                continue
            channel = message["channel"].decode()
            if message["type"] == "subscribe":
                self._heard.add(channel)
                confirmed = self._confirmations.get(channel)
                if confirmed is not None:
                    confirmed.set()
            elif channel in self._channels:
                try:
                    self._channels[channel](message["data"])
                except msgspec.MsgspecError:
                    _log.warning("message_not_ours", channel=channel)
