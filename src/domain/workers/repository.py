"""Deletes the rows of worker processes; heartbeats insert and renew them, see `lease_repository`."""

from datetime import timedelta
from typing import Final

from headrace.domain.database import Database
from headrace.domain.retention.expiry import Expiry

WORKER_EXPIRY: Final = Expiry("workers", "last_seen_at", timedelta(hours=24))


class WorkerRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        await self._database.fetch("DELETE FROM workers WHERE id = $1", worker_id)
