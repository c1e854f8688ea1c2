"""A PostgreSQL connection pool for single statements, used by workers, streams and submissions."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg

from headrace.adapters.database_errors import DRIVER_ERRORS, translate_database_error
from headrace.adapters.fair_turns import FairTurns
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import PostgresAddress, as_postgres_address
from headrace.domain.conditions import Report, ignore_trouble
from headrace.domain.database import (
    Database,
    DatabaseAwayError,
    DatabaseReadOnlyError,
    DatabaseTimeoutError,
    PoolFullError,
    Row,
    trouble_of,
)

COMMAND_SECONDS: Final = 30
# A process that hangs must not hold a lock for longer than a few seconds.
# A connection keeps its plans, also those that were made while a table was small enough to scan it whole. And
# compiling a plan takes longer than any of these statements.
SESSION: Final = {
    "application_name": "headrace",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "5s",
    "enable_seqscan": "off",
    "jit": "off",
    "timezone": "UTC",
}


def session_of(statement_seconds: float | None) -> dict[str, str]:
    """Return the parameters of a session in which statements end after that time; None: after 20 s."""
    if statement_seconds is None:
        return dict(SESSION)
    return SESSION | {"statement_timeout": f"{int(statement_seconds * 1000)}ms"}


async def _skip_reset(_: asyncpg.Connection) -> None:
    """Save a round trip: single statements do not change the session, so there is nothing to reset."""


class StatementPool:
    """Runs single autocommit statements over asyncpg; implements `domain.database.Database`."""

    def __init__(self, pool: asyncpg.Pool, acquire_seconds: float, report: Report) -> None:
        self._pool = pool
        self._acquire_seconds = acquire_seconds
        self._report = report

    @classmethod
    async def open(
        cls,
        address: PostgresAddress | str,
        *,
        size: int = 4,
        lock_timeout: timedelta | None = None,
        answer_seconds: float = COMMAND_SECONDS,
        statement_seconds: float | None = None,
        report: Report = ignore_trouble,
    ) -> "StatementPool":
        """Create a pool that connects on first use: PostgreSQL may be away when a process starts.

        *address* may be a URL. *lock_timeout* bounds how long a statement waits for a locked row,
        *answer_seconds* how long it may take in total. PostgreSQL ends it after *statement_seconds*;
        without them after 20 s, or after *answer_seconds* beyond `COMMAND_SECONDS`.
        *report* receives each failure that is not the fault of a statement.
        """
        if statement_seconds is None and answer_seconds > COMMAND_SECONDS:
            statement_seconds = answer_seconds
        session = session_of(statement_seconds)
        if lock_timeout is not None:
            session["lock_timeout"] = f"{int(lock_timeout.total_seconds() * 1000)}ms"
        connector = PostgresConnector(as_postgres_address(address), session, answer_seconds=answer_seconds)
        pool = asyncpg.create_pool(
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=300,
            connect=connector.connect,
            reset=_skip_reset,
        )
        await pool
        return cls(pool, connector.connect_seconds, report)

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        was_sent = False
        try:
            async with self._pool.acquire(timeout=self._acquire_seconds) as connection:
                was_sent = True
                rows: Sequence[Row] = await connection.fetch(statement, *arguments)
        except Exception as error:
            translated = translate_database_error(error)
            if translated is None:
                raise
            if isinstance(translated, DatabaseTimeoutError) and not was_sent:
                translated = self._not_acquired()
            elif isinstance(translated, DatabaseTimeoutError | DatabaseReadOnlyError):
                # The other connections may be silent as well, or as old as the time before a fail-over.
                await self.expire()
            if (trouble := trouble_of(translated)) is not None:
                self._report(trouble)
            raise translated from error
        return rows

    def count_in_use(self) -> int:
        """Return how many connections run a statement now."""
        return self._pool.get_size() - self._pool.get_idle_size()

    def _not_acquired(self) -> DatabaseAwayError:
        """Return the error of a statement that got no connection in time."""
        if self._pool.get_size() < self._pool.get_max_size():
            return DatabaseAwayError("a connection takes too long")
        return PoolFullError()

    async def expire(self) -> None:
        """Replace every connection before its next statement."""
        await self._pool.expire_connections()

    async def close(self) -> None:
        """Close every connection; those that are broken, or still busy after 5 s, are terminated."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except DRIVER_ERRORS:
            self._pool.terminate()


class FairDatabase:
    """A `Database` whose connections users share fairly."""

    def __init__(self, database: Database, turns: FairTurns) -> None:
        self._database = database
        self._turns = turns

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        async with self._turns.hold():
            return await self._database.fetch(statement, *arguments)
