"""Reads and deletes the rows of worker processes; heartbeats renew them, see `lease_repository`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.expiry import Expiry
from headrace.domain.workers.directory import MAX_RUNNING

WORKER_EXPIRY: Final = Expiry("workers", "last_seen_at", timedelta(hours=24))

MAX_WORKERS: Final = 1_000

_LIVE: Final = """
SELECT id, queues, concurrency, started_at, last_seen_at FROM workers
WHERE last_seen_at > statement_timestamp() - $1::interval ORDER BY id LIMIT $2
"""
# $1: the owner, or null for all jobs.
_RUNNING: Final = """
SELECT id, lease_owner FROM (
    SELECT id, lease_owner FROM jobs WHERE state = 'running' AND ($1::uuid IS NULL OR owner_id = $1) LIMIT $2
) running ORDER BY id
"""


class LiveWorker(Struct, frozen=True):
    """A worker process that was seen lately, with the jobs that it runs and that a caller may see."""

    id: str
    queues: Sequence[str]
    concurrency: int
    running: Sequence[UUID]
    started_at: datetime
    last_seen_at: datetime


class WorkerRepository:
    """The rows of worker processes, and the jobs that they run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_live(self, alive_within: timedelta, owner_id: UUID | None) -> list[LiveWorker]:
        """Return the workers that were seen within *alive_within*, by id, with the running jobs of a user.

        *owner_id* None: with the running jobs of all users.
        """
        workers = await self._database.fetch(_LIVE, alive_within, MAX_WORKERS)
        running: dict[str, list[UUID]] = {}
        for row in await self._database.fetch(_RUNNING, owner_id, MAX_RUNNING):
            running.setdefault(row["lease_owner"], []).append(row["id"])
        return [
            LiveWorker(
                id=row["id"],
                queues=row["queues"],
                concurrency=row["concurrency"],
                running=running.get(row["id"], []),
                started_at=row["started_at"],
                last_seen_at=row["last_seen_at"],
            )
            for row in workers
        ]

    async def delete(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        await self._database.fetch("DELETE FROM workers WHERE id = $1", worker_id)
