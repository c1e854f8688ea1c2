"""Rows that expire some time after a moment in one of their columns. Each concept declares its own."""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.rule import NOTHING_LEFT, Batch
from headrace.domain.retention.terms import horizon

_HOURLY: Final = timedelta(hours=1)

# Locked rows stay where they are, so their addresses are valid until the end of the statement.
_REMOVE: Final = """
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING 1
"""
_COUNT: Final = "SELECT count(*) AS expired FROM {table} WHERE {column} < $1"


class Expiry(Struct, frozen=True):
    """Rows of *table* expire *after* the time in *column*."""

    table: str
    column: str
    after: timedelta = timedelta(0)


class ExpiryRule:
    """Removes the expired rows of one table, the oldest first."""

    def __init__(self, database: Database, expiry: Expiry, period: timedelta = _HOURLY) -> None:
        self.name = expiry.table
        self.expiry = expiry
        self.period = period
        self._database = database

    async def prune(self, now: datetime, limit: int) -> Batch:
        before = horizon(now, self.expiry.after)
        if before is None:
            return NOTHING_LEFT
        statement = _REMOVE.format(table=self.expiry.table, column=self.expiry.column)
        removed = len(await self._database.fetch(statement, before, limit))
        return Batch(removed, is_last=removed < limit)

    async def count(self, now: datetime) -> int:
        before = horizon(now, self.expiry.after)
        if before is None:
            return 0
        statement = _COUNT.format(table=self.expiry.table, column=self.expiry.column)
        return int((await self._database.fetch(statement, before))[0]["expired"])
