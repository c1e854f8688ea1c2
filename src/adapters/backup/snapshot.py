"""A snapshot of the database for a backup, whose files keep their bytes while it is open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from headrace.adapters.backup.archive import CHUNK_BYTES
from headrace.adapters.database_errors import translate_database_error
from headrace.adapters.installed_schema import quote_identifier
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.schema import IS_RESTORE_UNFINISHED, UnfinishedRestoreError
from headrace.adapters.servers.client_tools import ClientTool, libpq_environment, running_tool
from headrace.domain.database import DatabaseAwayError
from headrace.domain.errors import HeadraceError
from headrace.domain.files.removals import REMOVAL_LOCK

# A backup takes as long as it takes.
SESSION: Final = {
    "application_name": "headrace",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "timezone": "UTC",
}
# PostgreSQL 13 has no such setting, and refuses a session that names one.
_NO_IDLE_LIMIT: Final = """
SELECT set_config('idle_session_timeout', '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'
"""
_CLOSE_SECONDS: Final = 5.0
_LOCK_MS: Final = 10_000
_ROWS: Final = 1_000
_FACTS: Final = """
SELECT (SELECT version_num FROM alembic_version) AS revision, current_schema() AS schema,
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::int / 10000 AS server_major,
    pg_export_snapshot() AS snapshot, statement_timestamp() AS at,
    (SELECT count(*) FROM jobs) AS jobs, (SELECT count(*) FROM files) AS files
"""
_FILES: Final = "SELECT id, blob_key, size, sha256 FROM files ORDER BY id"


class NothingToBackUpError(HeadraceError):
    """The database has no tables of Headrace."""

    def __init__(self) -> None:
        super().__init__("there is nothing to back up: the database has no tables of Headrace")


class AnotherBackupError(HeadraceError):
    """Another backup holds the files."""

    def __init__(self) -> None:
        super().__init__("another backup of this installation is running: wait until it has ended")


class SnapshotFacts(Struct, frozen=True):
    """What the database is at the moment of the snapshot."""

    revision: str
    schema: str
    server_version: str
    server_major: int
    snapshot: str
    at: Any
    jobs: int
    files: int


class SnapshotFile(Struct, frozen=True):
    """A file whose bytes belong to the backup."""

    id: UUID
    blob_key: UUID
    size: int
    sha256: bytes


class DatabaseSnapshot:
    """The rows of one moment."""

    def __init__(
        self, address: PostgresAddress, connection: asyncpg.Connection, facts: SnapshotFacts
    ) -> None:
        self._address = address
        self._connection = connection
        self.facts = facts

    async def dump(self, tool: ClientTool) -> AsyncIterator[bytes]:
        """Yield what pg_dump writes of the schema.

        Raises:
            ToolError: it fails.
        """
        arguments = [
            "--format=custom",
            "--no-password",
            f"--schema={quote_identifier(self.facts.schema)}",
            f"--snapshot={self.facts.snapshot}",
        ]
        async with running_tool(tool, arguments, libpq_environment(self._address)) as running:
            async for chunk in running.chunks(CHUNK_BYTES):
                yield chunk

    async def files(self) -> AsyncIterator[SnapshotFile]:
        """Yield all files."""
        async for row in self._connection.cursor(_FILES, prefetch=_ROWS):
            yield SnapshotFile(**dict(row))


@asynccontextmanager
async def open_snapshot(address: PostgresAddress) -> AsyncIterator[DatabaseSnapshot]:
    """Hold a snapshot for the block. Workers remove no bytes meanwhile, so its files are all there.

    The lock is held by a transaction of its own, because the snapshot has to be younger than the lock.

    Raises:
        NothingToBackUpError: there are no tables.
        AnotherBackupError: another backup runs.
        UnfinishedRestoreError: a restore into the schema runs, or was killed.
    """
    connector = PostgresConnector(address, SESSION, answer_seconds=None)
    async with connected(connector) as holding, connected(connector) as reading, holding.transaction():
        await holding.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
        try:
            await holding.execute(f"SELECT pg_advisory_xact_lock({REMOVAL_LOCK})")
        except asyncpg.LockNotAvailableError as error:
            raise AnotherBackupError from error
        async with reading.transaction(isolation="repeatable_read", readonly=True):
            if await reading.fetchval(IS_RESTORE_UNFINISHED):
                raise UnfinishedRestoreError
            try:
                row = await reading.fetchrow(_FACTS)
            except asyncpg.UndefinedTableError as error:
                raise NothingToBackUpError from error
            if row is None or row["revision"] is None:
                raise NothingToBackUpError
            yield DatabaseSnapshot(address, reading, SnapshotFacts(**dict(row)))


@asynccontextmanager
async def connected(connector: PostgresConnector) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection for the block. Errors of PostgreSQL in it become those of the domain."""
    try:
        connection = await connector.connect()
    except Exception as error:
        if (translated := translate_database_error(error)) is None:
            raise
        raise translated from error
    try:
        await connection.execute(_NO_IDLE_LIMIT)
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if connection.is_closed():
            raise DatabaseAwayError("the connection was ended") from error
        if (translated := translate_database_error(error)) is None:
            raise
        raise translated from error
    finally:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=_CLOSE_SECONDS)
