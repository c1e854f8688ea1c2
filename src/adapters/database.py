"""A PostgreSQL connection pool for single statements, used by workers, streams and submissions."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg

from headrace.adapters.sqlstates import judge
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseRefusingError,
    DatabaseTimeoutError,
    Row,
)

CONNECT_SECONDS: Final = 5
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
# asyncpg raises the third when a connection breaks during a reply.
_CONNECTION_ERRORS: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def _skip_reset(_: asyncpg.Connection) -> None:
    """Save a round trip: single statements do not change the session, so there is nothing to reset."""


def _translated(error: asyncpg.PostgresError) -> DatabaseAwayError | DatabaseBusyError | None:
    """Return the domain's error for one of PostgreSQL; None if the statement or its values are to blame."""
    reason = type(error).__name__
    match judge(error.sqlstate):
        case "away":
            return DatabaseAwayError(reason)
        case "busy":
            return DatabaseBusyError(reason)
        case "refusing":
            return DatabaseRefusingError(reason)
        case "misconfigured":
            return DatabaseRefusingError(str(error), is_misconfigured=True)
        case _:
            return None


class StatementPool:
    """Runs single autocommit statements over asyncpg; implements `domain.database.Database`."""

    def __init__(self, pool: asyncpg.Pool, acquire_seconds: float) -> None:
        self._pool = pool
        self._acquire_seconds = acquire_seconds

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        size: int = 4,
        lock_timeout: timedelta | None = None,
        answer_seconds: float = COMMAND_SECONDS,
    ) -> "StatementPool":
        """Create a pool that connects on first use: PostgreSQL may be away when a process starts.

        *lock_timeout* bounds how long a statement waits for a locked row, *answer_seconds* how long it may
        take in total. PostgreSQL ends it after 20 s, or after *answer_seconds* beyond `COMMAND_SECONDS`.
        """
        session = dict(SESSION)
        if answer_seconds > COMMAND_SECONDS:
            session["statement_timeout"] = f"{int(answer_seconds)}s"
        if lock_timeout is not None:
            session["lock_timeout"] = f"{int(lock_timeout.total_seconds() * 1000)}ms"
        pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=answer_seconds,
            max_inactive_connection_lifetime=300,
            server_settings=session,
            reset=_skip_reset,
        )
        await pool
        return cls(pool, min(CONNECT_SECONDS, answer_seconds))

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        was_sent = False
        try:
            async with self._pool.acquire(timeout=self._acquire_seconds) as connection:
                was_sent = True
                rows: Sequence[Row] = await connection.fetch(statement, *arguments)
        except ValueError:  # asyncpg's error for a bad argument is a ValueError and an InterfaceError
            raise
        except TimeoutError as error:
            if was_sent:
                # The fault that swallowed this answer may have broken the other connections as well.
                await self._pool.expire_connections()
            raise DatabaseTimeoutError(type(error).__name__) from error
        except _CONNECTION_ERRORS as error:
            raise DatabaseAwayError(type(error).__name__) from error
        except asyncpg.PostgresError as error:
            translated = _translated(error)
            if translated is None:
                raise
            raise translated from error
        return rows

    async def close(self) -> None:
        """Close every connection; those that are broken, or still busy after 5 s, are terminated."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except (TimeoutError, asyncpg.PostgresError, *_CONNECTION_ERRORS):
            self._pool.terminate()
