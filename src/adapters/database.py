"""PostgreSQL for single statements: the pool of workers, streams and submissions."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg

from headrace.domain.database import DatabaseAwayError, DatabaseBusyError, Row

CONNECT_SECONDS: Final = 5
COMMAND_SECONDS: Final = 30
# A stopped process must not hold a lock for longer than a few seconds, whatever it was doing.
SESSION: Final = {
    "application_name": "headrace",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "5s",
    "timezone": "UTC",
}
UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says of a connection that was cut in the middle
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)

_BUSY: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """Single statements change nothing of a session, so there is nothing to reset: a round trip saved."""


class StatementPool:
    """Runs single autocommit statements over asyncpg; implements `domain.database.Database`."""

    def __init__(self, pool: asyncpg.Pool, patience_seconds: float) -> None:
        self._pool = pool
        self._patience_seconds = patience_seconds

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        size: int = 4,
        lock_timeout: timedelta | None = None,
        answer_seconds: float = COMMAND_SECONDS,
    ) -> "StatementPool":
        """Connect lazily: PostgreSQL may be away when a process starts.

        *lock_timeout* bounds how long a statement waits for a row that somebody else holds, *answer_seconds*
        how long it may take in all.
        """
        session = dict(SESSION)
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
            reset=_leave_as_it_is,
        )
        await pool
        return cls(pool, min(CONNECT_SECONDS, answer_seconds))

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        was_sent = False
        try:
            async with self._pool.acquire(timeout=self._patience_seconds) as connection:
                was_sent = True
                rows: Sequence[Row] = await connection.fetch(statement, *arguments)
        except ValueError:  # asyncpg's error for a bad argument is an InterfaceError, too
            raise
        except UNAVAILABLE as error:
            if was_sent and isinstance(error, TimeoutError):
                # What has swallowed this answer may have cut off the connections beside it, too.
                await self._pool.expire_connections()
            raise DatabaseAwayError(type(error).__name__) from error
        except _BUSY as error:
            raise DatabaseBusyError(type(error).__name__) from error
        return rows

    async def close(self) -> None:
        """Close every connection; those still busy after 5 s are cut."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()
