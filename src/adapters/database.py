"""PostgreSQL: the engine for people's requests, the pool for single statements, and migrations."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import AlembicAsyncConfig, SQLAlchemyAsyncConfig
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import domain.tables  # noqa: F401  (every table is known to migrations)
from domain.base import METADATA
from domain.database import DatabaseAwayError, DatabaseBusyError, Row
from domain.errors import HeadraceError

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"

_CONNECT_SECONDS: Final = 5
_COMMAND_SECONDS: Final = 30
# A stopped process must not hold a lock for longer than a few seconds, whatever it was doing.
_SESSION: Final = {
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


class SchemaError(HeadraceError):
    """The database is not at the version that this code needs."""


def sqlalchemy_url(url: str) -> str:
    """The same database for SQLAlchemy's asyncpg dialect."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+asyncpg"))


def build_engine(url: str) -> AsyncEngine:
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=16,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "server_settings": _SESSION,
            "timeout": _CONNECT_SECONDS,
            "command_timeout": _COMMAND_SECONDS,
        },
    )


class StatementPool:
    """Runs single autocommit statements over asyncpg; `domain.database.Database` for workers and streams."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str, *, size: int = 4, lock_timeout: timedelta | None = None) -> "StatementPool":
        """Connect lazily: PostgreSQL may be away when a process starts.

        *lock_timeout* bounds how long a statement waits for a row that somebody else holds.
        """
        session = dict(_SESSION)
        if lock_timeout is not None:
            session["lock_timeout"] = f"{int(lock_timeout.total_seconds() * 1000)}ms"
        pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            max_inactive_connection_lifetime=300,
            server_settings=session,
        )
        await pool
        return cls(pool)

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        try:
            async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                rows: Sequence[Row] = await connection.fetch(statement, *arguments)
        except ValueError:  # asyncpg's error for a bad argument is an InterfaceError, too
            raise
        except UNAVAILABLE as error:
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


def alembic_commands(url: str) -> AlembicCommands:
    """Alembic over advanced-alchemy, for `headrace migrate` and the checks."""
    config = SQLAlchemyAsyncConfig(
        engine_instance=create_async_engine(sqlalchemy_url(url), connect_args={"timeout": _CONNECT_SECONDS}),
        metadata=METADATA,
        alembic_config=AlembicAsyncConfig(
            script_location=str(MIGRATIONS),
            script_config=str(MIGRATIONS / "alembic.ini"),
            version_table_name="alembic_version",
            render_as_batch=False,
        ),
    )
    return AlembicCommands(config)


def upgrade(url: str) -> None:
    """Bring the database to the newest revision, in one transaction.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
    """
    try:
        alembic_commands(url).upgrade()
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise DatabaseAwayError(str(error) or type(error).__name__) from error


def newest_revision() -> str:
    """The revision that this code was written for."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if head is None:
        raise SchemaError("there are no migrations in this installation")
    return head
