"""Stores and reads how chores go and how far they are: workers run them, the API and `doctor` report them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.expiry import Expiry
from headrace.domain.workers.directory import ALIVE_WITHIN

_MAX_ERROR_LENGTH: Final = 500

_STORE_SUCCESS: Final = """
WITH ended AS (DELETE FROM chore_failures WHERE worker_id = $1 AND name = $2)
INSERT INTO chores (name, succeeded_at) VALUES ($2, statement_timestamp())
ON CONFLICT (name) DO UPDATE SET succeeded_at = excluded.succeeded_at, error = NULL
"""
_STORE_FAILURE: Final = """
INSERT INTO chore_failures (worker_id, name, failed_at, error) VALUES ($1, $2, statement_timestamp(), $3)
ON CONFLICT (worker_id, name) DO UPDATE SET failed_at = excluded.failed_at, error = excluded.error
"""
# `chores.error` is that of a worker of the previous release.
_FETCH_FAILING: Final = """
SELECT name, worker_id, f.error, f.failed_at, succeeded_at
FROM chore_failures f JOIN workers w ON w.id = f.worker_id LEFT JOIN chores USING (name)
WHERE w.last_seen_at > statement_timestamp() - $1::interval
UNION ALL
SELECT name, NULL, error, failed_at, succeeded_at FROM chores WHERE error IS NOT NULL
ORDER BY name, worker_id
"""
# A failure that lasts is stored again every ten minutes, or once an hour by a chore that runs that rarely.
FAILURE_EXPIRY: Final = Expiry("chore_failures", "failed_at", timedelta(hours=24))
_LOAD_POSITION: Final = "SELECT position FROM chores WHERE name = $1"
_STORE_POSITION: Final = """
INSERT INTO chores (name, position) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""
_FETCH_DUE: Final = """
SELECT due.name FROM unnest($1::text[]) AS due(name) LEFT JOIN chores USING (name)
WHERE next_run_at IS NULL OR next_run_at <= statement_timestamp()
"""
# One worker runs it for all, so a failure of any other is over as well.
_STORE_RUN: Final = """
WITH ended AS (DELETE FROM chore_failures WHERE name = $1)
INSERT INTO chores (name, succeeded_at, next_run_at)
VALUES ($1, statement_timestamp(), statement_timestamp() + $2::interval)
ON CONFLICT (name) DO UPDATE SET succeeded_at = excluded.succeeded_at, next_run_at = excluded.next_run_at,
    error = NULL
"""
_STORE_NEXT_RUN: Final = """
INSERT INTO chores (name, next_run_at) VALUES ($1, statement_timestamp() + $2::interval)
ON CONFLICT (name) DO UPDATE SET next_run_at = excluded.next_run_at
"""
_STORE_FINDINGS: Final = """
INSERT INTO chores (name, found, found_bytes, found_oldest) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET found = excluded.found, found_bytes = excluded.found_bytes,
    found_oldest = excluded.found_oldest
"""


class Findings(Struct, frozen=True):
    """What a chore has found: how many things, their bytes, and the time of the oldest."""

    count: int = 0
    bytes: int = 0
    oldest: datetime | None = None


class FailingChore(Struct, frozen=True):
    """A chore whose last run in one worker failed.

    *worker*: None for a worker of the previous release. *succeeded_at*: the last success in any worker.
    """

    name: str
    worker: str | None
    error: str
    failed_at: datetime
    succeeded_at: datetime | None


class ChoreRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store_outcome(self, worker: str, name: str, error: str | None) -> None:
        """Store that the chore has succeeded in *worker*, or the *error* with which it failed there."""
        if error is None:
            await self._database.fetch(_STORE_SUCCESS, worker, name)
        else:
            await self._database.fetch(_STORE_FAILURE, worker, name, error[:_MAX_ERROR_LENGTH])

    async def load_position(self, name: str) -> str | None:
        """Return how far the chore has come, in any worker; None before its first part."""
        rows = await self._database.fetch(_LOAD_POSITION, name)
        return rows[0]["position"] if rows else None

    async def store_position(self, name: str, position: str) -> None:
        """Store that the chore has come to *position*."""
        await self._database.fetch(_STORE_POSITION, name, position)

    async def fetch_due(self, names: Sequence[str]) -> set[str]:
        """Return those of the chores whose next run is due."""
        return {row["name"] for row in await self._database.fetch(_FETCH_DUE, list(names))}

    async def store_run(self, name: str, next_after: timedelta) -> None:
        """Store that a chore has succeeded that one worker runs for all, and when it is due again."""
        await self._database.fetch(_STORE_RUN, name, next_after)

    async def store_next_run(self, name: str, after: timedelta) -> None:
        """Store that the chore is due again in that time."""
        await self._database.fetch(_STORE_NEXT_RUN, name, after)

    async def store_findings(self, name: str, findings: Findings) -> None:
        """Store what the chore has found where the database cannot look, such as in a folder."""
        await self._database.fetch(_STORE_FINDINGS, name, findings.count, findings.bytes, findings.oldest)

    async def fetch_failing(self) -> Sequence[FailingChore]:
        """Return the chores whose last run in a live worker failed, in the order of their names."""
        rows = await self._database.fetch(_FETCH_FAILING, ALIVE_WITHIN)
        return [
            FailingChore(
                name=row["name"],
                worker=row["worker_id"],
                error=row["error"],
                failed_at=row["failed_at"],
                succeeded_at=row["succeeded_at"],
            )
            for row in rows
        ]
