"""Creates the monthly partitions of the event log, and finds those of the past.

They are created ahead of time, and for events in the default partition.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database, DatabaseAwayError
from headrace.domain.events.partition_mover import PartitionMover

_MONTHS_AHEAD: Final = 3
_MAX_YEARS_AHEAD: Final = 10
_MAX_STRAY_MONTHS: Final = 24

_PARTITIONS: Final = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'job_changes'::regclass
"""
_NAME: Final = re.compile(r"job_changes_(\d{4})_(0[1-9]|1[0-2])", re.ASCII)
_NEXT_STRAY: Final = """
SELECT job_id FROM job_changes_rest WHERE job_id >= $1 ORDER BY job_id LIMIT 1
"""


def months_from(now: datetime, count: int) -> Iterator[datetime]:
    """Yield the start of *count* months, beginning with the month of *now*."""
    month = now.year * 12 + now.month - 1
    for number in range(month, month + count):
        yield datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def lowest_id_at(time: datetime) -> UUID:
    """Return the smallest UUIDv7 of *time*: 48 bits of milliseconds, then zeros (RFC 9562, 5.7)."""
    return UUID(int=int(time.timestamp() * 1000) << 80)


class PastPartition(Struct, frozen=True):
    """A partition whose month is over. Its jobs have ids from *low* to below *high*."""

    name: str
    month: datetime
    end: datetime

    @property
    def low(self) -> UUID:
        return lowest_id_at(self.month)

    @property
    def high(self) -> UUID:
        return lowest_id_at(self.end)


async def past_partitions(database: Database, now: datetime) -> list[PastPartition]:
    """Return the partitions of months before that of *now*, the oldest first."""
    partitions = []
    for row in await database.fetch(_PARTITIONS):
        if match := _NAME.fullmatch(row["relname"]):
            month = datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
            _, end = months_from(month, 2)
            if end <= now:
                partitions.append(PastPartition(match[0], month, end))
    return sorted(partitions, key=lambda partition: partition.month)


def stray_id_limit(now: datetime) -> UUID:
    """Return the id of a time years ahead of *now*. Larger ids are no UUIDv7: their events stay."""
    return lowest_id_at(datetime(now.year + _MAX_YEARS_AHEAD, 1, 1, tzinfo=UTC))


async def missing_partitions(database: Database, months: Iterable[datetime]) -> list[datetime]:
    """Return those of *months* that have no partition."""
    existing = {row["relname"] for row in await database.fetch(_PARTITIONS)}
    return [month for month in dict.fromkeys(months) if _name_of(month) not in existing]


def _name_of(month: datetime) -> str:
    return f"job_changes_{month:%Y_%m}"


async def create_partitions(database: Database, now: datetime, *, max_rows: int | None = None) -> None:
    """Create the missing partitions of this month, the next three, and all months of stray events.

    Stray events are those in the default partition: of jobs whose ids were made by a wrong clock, or while no
    partition could be created. They are moved, if a month has at most *max_rows*. A month that fails does
    not hold up the others.

    Raises:
        Exception: the first failure, when the other months are done.
    """
    mover = PartitionMover(database, max_rows=max_rows)
    months = [*months_from(now, _MONTHS_AHEAD + 1), *await _stray_months(database, now)]
    failures: list[Exception] = []
    for start in await missing_partitions(database, months):
        _, end = months_from(start, 2)
        try:
            await mover.move(_name_of(start), lowest_id_at(start), lowest_id_at(end))
        except DatabaseAwayError:
            raise
        except Exception as error:  # noqa: BLE001  (raised when the other months are done)
            failures.append(error)
    if failures:
        raise failures[0]


async def _stray_months(database: Database, now: datetime) -> list[datetime]:
    """Return the months of stray events, of many months the oldest."""
    months: list[datetime] = []
    limit = stray_id_limit(now)
    lowest = UUID(int=0)
    while len(months) < _MAX_STRAY_MONTHS:
        rows = await database.fetch(_NEXT_STRAY, lowest)
        if not rows or rows[0]["job_id"] >= limit:
            break
        at = datetime.fromtimestamp((rows[0]["job_id"].int >> 80) / 1000, UTC)
        month, following = months_from(at, 2)
        months.append(month)
        lowest = lowest_id_at(following)
    return months
