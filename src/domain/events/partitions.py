"""The monthly partitions of the event log, made ahead of time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final
from uuid import UUID

from domain.database import Database

_MONTHS_AHEAD: Final = 3


def months_from(now: datetime, count: int) -> Iterator[datetime]:
    """The first moments of *count* months, from the one that holds *now*."""
    month = now.year * 12 + now.month - 1
    for number in range(month, month + count):
        yield datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def lowest_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 made at *moment*: 48 bits of milliseconds, then zeros (RFC 9562, 5.7)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


async def make_partitions(database: Database, now: datetime) -> None:
    """Make the partition of this month and those of the next three; what exists is left alone."""
    starts = list(months_from(now, _MONTHS_AHEAD + 2))
    for start, end in pairwise(starts):
        await database.fetch(
            f"CREATE TABLE IF NOT EXISTS job_events_{start:%Y_%m} PARTITION OF job_events "
            f"FOR VALUES FROM ('{lowest_id_at(start)}') TO ('{lowest_id_at(end)}')"
        )
