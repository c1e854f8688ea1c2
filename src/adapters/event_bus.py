"""Receives news about jobs over Redis pub/sub, on one connection per API process.

A message that is missed or refused is read from PostgreSQL later.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from headrace.adapters.messages import Message, MessageRefusedError, MessageSigner, RefusedMessages
from headrace.adapters.redis_client import CLOSE_ERRORS, REDIS_ERRORS, checked_reply, report_failure
from headrace.adapters.retry_pause import RetryPause
from headrace.adapters.tasks import cancel_and_wait

_log = structlog.get_logger(__name__)

_MIN_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 2.0
_CONFIRM_SECONDS: Final = 1.0
_COMMAND_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_KEEP_ALIVE_CHANNEL: Final = "headrace:hub"


Listener = Callable[[Message], None]


class EventBus:
    """The pub/sub connection of an API process. `run` is its only task.

    The callbacks in *on_missed* are called when messages may have been missed: after each connect, and when
    messages begin to be refused.
    """

    def __init__(self, redis: Redis | None, signer: MessageSigner) -> None:
        self._redis = redis
        self._signer = signer
        self.refused = RefusedMessages()
        self._channels: dict[str, Listener] = {}
        self.on_missed: list[Callable[[], None]] = []
        self._confirmations: dict[str, asyncio.Event] = {}
        # The channels that Redis was told on this connection, and those whose subscription it has confirmed.
        self._requested: set[str] = set()
        self._confirmed: set[str] = set()
        # The channels that were subscribed or unsubscribed since the last command.
        self._changed: set[str] = set()
        self._has_changed = asyncio.Event()
        self.is_connected = False

    @property
    def has_redis(self) -> bool:
        return self._redis is not None

    @property
    def is_late(self) -> bool:
        """Whether messages may be missing: Redis is configured but not connected, or messages are refused."""
        return self.has_redis and (not self.is_connected or self.refused.is_refusing)

    async def subscribe(self, channel: str, listener: Listener) -> bool:
        """Subscribe to a channel. Returns whether Redis has confirmed it within a second."""
        self._channels[channel] = listener
        self._send_soon({channel})
        if not self.is_connected:
            return False
        if channel in self._requested and channel in self._confirmed:
            return True
        confirmed = self._confirmations.setdefault(channel, asyncio.Event())
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                await confirmed.wait()
        except TimeoutError:
            return False
        finally:
            self._confirmations.pop(channel, None)
        return True

    def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel soon; its messages are ignored from now on."""
        self._channels.pop(channel, None)
        self._send_soon({channel})

    def resubscribe(self) -> None:
        """Repeat the subscriptions that are not confirmed: their command may have been lost or not sent."""
        if missing := self._channels.keys() - self._confirmed:
            self._requested -= missing
            self._send_soon(missing)

    def _send_soon(self, channels: set[str]) -> None:
        if self._redis is not None:
            self._changed |= channels
            self._has_changed.set()

    async def run(self) -> None:
        """Receive messages until cancelled, and reconnect when the connection is lost."""
        if self._redis is None:
            return
        pause = RetryPause(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
        while True:
            pubsub = self._redis.pubsub()
            sending: asyncio.Task[None] | None = None
            try:
                self._confirmed.clear()
                self._changed.clear()
                self._requested = set(self._channels)
                async with asyncio.timeout(_COMMAND_SECONDS):
                    await pubsub.subscribe(_KEEP_ALIVE_CHANNEL, *self._requested)
                self.is_connected = True
                sending = asyncio.create_task(self._send_changes(pubsub))
                for callback in self.on_missed:
                    callback()
                pause.reset()
                await self._listen(pubsub)
            except REDIS_ERRORS as error:
                report_failure(self._redis, error)
            finally:
                self.is_connected = False
                # Subscribing on a closed object would open a connection that nothing reads.
                if sending is not None:
                    await cancel_and_wait([sending])
                with contextlib.suppress(*CLOSE_ERRORS):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(pause.next_seconds())

    async def _send_changes(self, pubsub: PubSub) -> None:
        """Send what has changed since the last command, so that thousands of streams share one."""
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            changed, self._changed = self._changed, set()
            added = {channel for channel in changed - self._requested if channel in self._channels}
            removed = {channel for channel in changed & self._requested if channel not in self._channels}
            self._requested |= added
            self._requested -= removed
            try:
                async with asyncio.timeout(_COMMAND_SECONDS):
                    if removed:
                        await pubsub.unsubscribe(*removed)
                    if added:
                        await pubsub.subscribe(*added)
            except Exception as error:  # noqa: BLE001  (redis-py's errors when the connection breaks; see `resubscribe`)
                _log.warning("subscriptions_not_sent", error=repr(error))

    async def _listen(self, pubsub: PubSub) -> None:
        while True:
            with checked_reply():
                message = await pubsub.get_message(timeout=30)
                channel = message["channel"].decode() if message and message["channel"] else ""
            if message is None:
                async with asyncio.timeout(5):
                    await pubsub.ping()
            elif message["type"] == "subscribe":
                self._confirmed.add(channel)
                confirmed = self._confirmations.get(channel)
                if confirmed is not None:
                    confirmed.set()
            elif message["type"] == "unsubscribe":
                self._confirmed.discard(channel)
            elif message["type"] == "message" and not self._deliver(channel, message["data"]):
                # Others may write faster than this process reads.
                await asyncio.sleep(0)

    def _deliver(self, channel: str, raw: object) -> bool:
        """Give the message to the listener of *channel*, if there is one; return False if it is refused."""
        listener = self._channels.get(channel)
        if listener is None:
            return True
        try:
            message = self._signer.decode(channel, raw)
        except MessageRefusedError as error:
            was_refusing = self.refused.is_refusing
            self.refused.add(channel, str(error))
            if not was_refusing:
                for callback in self.on_missed:
                    callback()
            return False
        try:
            listener(message)
        except Exception:  # noqa: BLE001  (other feeds go on; the next check finds what this message says)
            _log.exception("message_not_handled", channel=channel)
        return True
