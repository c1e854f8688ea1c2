"""Deletes the rows of worker processes; heartbeats insert and renew them, see `lease_repository`."""

from headrace.domain.database import Database


class WorkerRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        await self._database.fetch("DELETE FROM workers WHERE id = $1", worker_id)

    async def delete_vanished(self) -> None:
        """Delete the rows of workers that were last seen more than a day ago."""
        await self._database.fetch(
            "DELETE FROM workers WHERE last_seen_at < statement_timestamp() - interval '24 hours'"
        )
