"""Finds out whose channels have listeners, so that nothing is encoded and sent for nobody."""

import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from headrace.adapters.redis_client import checked_reply

_PREFIX: Final = "headrace:"
_UUID_CHARS: Final = 36
# Listing all channels with listeners costs less than counting those of each job, unless there are many.
_MAX_LISTED: Final = 100
_MAX_LIST_SECONDS: Final = 0.02
_ASK_EACH_SECONDS: Final = 10.0

_LIST: Final = """
local channels = redis.call('PUBSUB', 'CHANNELS', ARGV[1])
if #channels > tonumber(ARGV[2]) then return false end
return channels
"""


def job_channel(job_id: UUID) -> str:
    return f"{_PREFIX}job:{job_id}"


def owner_channel(owner_id: UUID) -> str:
    return f"{_PREFIX}owner:{owner_id}"


class Listeners:
    """The listeners in all processes that share this Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._asks_each_until = 0.0

    async def find(self, job_ids: Collection[UUID], owner_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the jobs and owners whose channels have listeners; other ids may be among them."""
        if time.monotonic() >= self._asks_each_until:
            listed = await self._list()
            if listed is not None:
                return listed
            self._asks_each_until = time.monotonic() + _ASK_EACH_SECONDS
        ids = [*job_ids, *owner_ids]
        channels = [*map(job_channel, job_ids), *map(owner_channel, owner_ids)]
        with checked_reply():
            counts = await self._redis.pubsub_numsub(*channels)
            return {key for key, (_, listeners) in zip(ids, counts, strict=True) if listeners}

    async def _list(self) -> set[UUID] | None:
        """Return all jobs and owners whose channels have listeners; None if they should not be listed.

        They are too many, other programs have so many channels that it takes long, or Redis does not let us.
        """
        began = time.monotonic()
        try:
            channels: Iterable[bytes] | None = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                "EVAL", _LIST, 0, f"{_PREFIX}*:*", _MAX_LISTED
            )
        except ResponseError:
            return None
        if channels is None or time.monotonic() - began > _MAX_LIST_SECONDS:
            return None
        found = set()
        with checked_reply():
            for channel in channels:
                with suppress(ValueError):  # other programs may use such a name
                    found.add(UUID(channel[-_UUID_CHARS:].decode()))
        return found
