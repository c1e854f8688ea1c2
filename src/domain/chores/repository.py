"""Stores and reads how chores go and how far they are: workers run them, the API and `doctor` report them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database

_MAX_ERROR_LENGTH: Final = 500

_STORE: Final = """
INSERT INTO chores (name, succeeded_at, failed_at, error)
VALUES ($1, CASE WHEN $2::text IS NULL THEN statement_timestamp() END,
        CASE WHEN $2::text IS NOT NULL THEN statement_timestamp() END, $2::text)
ON CONFLICT (name) DO UPDATE SET
    succeeded_at = coalesce(excluded.succeeded_at, chores.succeeded_at),
    failed_at = coalesce(excluded.failed_at, chores.failed_at),
    error = excluded.error
"""
_FETCH_FAILING: Final = """
SELECT name, error, failed_at, succeeded_at FROM chores WHERE error IS NOT NULL ORDER BY name
"""
_LOAD_POSITION: Final = "SELECT position FROM chores WHERE name = $1"
_STORE_POSITION: Final = """
INSERT INTO chores (name, position) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""


class FailingChore(Struct, frozen=True):
    """A chore whose last run failed. *succeeded_at*: its last success; None if there was none."""

    name: str
    error: str
    failed_at: datetime
    succeeded_at: datetime | None


class ChoreRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store_outcome(self, name: str, error: str | None) -> None:
        """Store that the chore has succeeded, or the *error* with which it failed."""
        await self._database.fetch(_STORE, name, None if error is None else error[:_MAX_ERROR_LENGTH])

    async def load_position(self, name: str) -> str | None:
        """Return how far the chore has come, in any worker; None before its first part."""
        rows = await self._database.fetch(_LOAD_POSITION, name)
        return rows[0]["position"] if rows else None

    async def store_position(self, name: str, position: str) -> None:
        """Store that the chore has come to *position*."""
        await self._database.fetch(_STORE_POSITION, name, position)

    async def fetch_failing(self) -> Sequence[FailingChore]:
        """Return the chores whose last run failed, in the order of their names."""
        rows = await self._database.fetch(_FETCH_FAILING)
        return [
            FailingChore(row["name"], row["error"], row["failed_at"], row["succeeded_at"]) for row in rows
        ]
