"""Drops the partitions of the event log whose jobs are all gone, so that the disk gets their space back.

A partition stays as long as one of its jobs does.
"""

from datetime import datetime, timedelta
from typing import Final

from headrace.domain.database import Database
from headrace.domain.events.partitions import PastPartition, past_partitions
from headrace.domain.retention.rule import NOTHING_LEFT, Batch

_PERIOD: Final = timedelta(minutes=10)

_HAS_JOBS: Final = "SELECT EXISTS (SELECT FROM jobs WHERE id >= $1 AND id < $2) AS has_jobs"
# Everybody who writes events queues behind this lock, so its wait is short, and nothing slow happens under
# it: the first look at the jobs, without the lock, has marked their dead index entries. A transaction that
# inserts a job holds a lock of the event log until its commit.
_DROP: Final = """
DO $$ BEGIN
    PERFORM set_config('lock_timeout', '50ms', true);
    LOCK TABLE job_changes IN ACCESS EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM jobs WHERE id >= '{low}' AND id < '{high}') THEN
        DROP TABLE IF EXISTS {name};
    END IF;
END $$
"""


class PartitionRule:
    """Drops one partition a call."""

    name = "event_partitions"
    period = _PERIOD

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(self, now: datetime, limit: int) -> Batch:  # noqa: ARG002
        """Drop the oldest partition without jobs.

        Raises:
            DatabaseBusyError: another transaction holds the event log, so it is tried again in the next pass.
        """
        partition = await self._next(now)
        if partition is None:
            return NOTHING_LEFT
        statement = _DROP.format(name=partition.name, low=partition.low, high=partition.high)
        await self._database.fetch(statement)
        return Batch(1, is_last=False)

    async def count(self, now: datetime) -> int:
        """Count the partitions that are empty already. Others may become so when their jobs are pruned."""
        return len([part for part in await past_partitions(self._database, now) if await self._is_free(part)])

    async def _next(self, now: datetime) -> PastPartition | None:
        for partition in await past_partitions(self._database, now):
            if await self._is_free(partition):
                return partition
        return None

    async def _is_free(self, partition: PastPartition) -> bool:
        rows = await self._database.fetch(_HAS_JOBS, partition.low, partition.high)
        return not rows[0]["has_jobs"]
