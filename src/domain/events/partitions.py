"""Creates the monthly partitions of the event log ahead of time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final
from uuid import UUID

from headrace.domain.database import Database

_MONTHS_AHEAD: Final = 3

_CREATE: Final = """
DO $$ BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    LOCK TABLE job_events IN ACCESS EXCLUSIVE MODE;
    CREATE TABLE IF NOT EXISTS {name} PARTITION OF job_events FOR VALUES FROM ('{low}') TO ('{high}');
END $$
"""


def months_from(now: datetime, count: int) -> Iterator[datetime]:
    """Yield the start of *count* months, beginning with the month of *now*."""
    month = now.year * 12 + now.month - 1
    for number in range(month, month + count):
        yield datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def lowest_id_at(time: datetime) -> UUID:
    """Return the smallest UUIDv7 of *time*: 48 bits of milliseconds, then zeros (RFC 9562, 5.7)."""
    return UUID(int=int(time.timestamp() * 1000) << 80)


async def create_partitions(database: Database, now: datetime) -> None:
    """Create the missing partitions of this month and the next three.

    Creating a partition takes a lock that writers wait for, so existing ones are left alone.
    """
    rows = await database.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'job\\_events\\_%'")
    existing = {row["relname"] for row in rows}
    for start, end in pairwise(months_from(now, _MONTHS_AHEAD + 2)):
        name = f"job_events_{start:%Y_%m}"
        if name not in existing:
            await database.fetch(_CREATE.format(name=name, low=lowest_id_at(start), high=lowest_id_at(end)))
