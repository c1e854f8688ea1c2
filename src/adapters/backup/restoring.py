"""Restores the dump of a backup: into a schema without tables, or in place of the tables that are there."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec

from headrace.adapters.backup.archive import Manifest
from headrace.adapters.backup.snapshot import SESSION, connected
from headrace.adapters.installed_schema import quote_identifier
from headrace.adapters.other_sessions import OTHER_SESSIONS, count_lasting
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.schema import UNFINISHED_RESTORE
from headrace.adapters.servers.client_tools import find_tool, libpq_environment, running_tool
from headrace.domain.errors import HeadraceError

_MAX_NAME: Final = 40
_TABLES: Final = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace($1)"
# Sessions of other installations in the database cannot be told apart, so they must not stand in the way.
# The schema that a killed `migrate --check` or restore has left is no installation.
_SESSIONS: Final = f"""
{OTHER_SESSIONS} AND 1 >= (
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'schema_mark' AND c.relkind = 'r'
      AND n.nspname !~ '^headrace_check_[0-9a-f]{{12}}$' AND n.nspname !~ '_[0-9]{{14}}$'
)
"""  # noqa: S608
# Tables come first, because their sequences and statistics go with them.
_OBJECTS: Final = """
SELECT object.type, object.identity
FROM pg_depend d CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS object
WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace($1)
  AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
ORDER BY object.type <> 'table', object.identity
"""
_ANALYZED: Final = """
SELECT oid::regclass::text AS name FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = to_regnamespace($1)
"""
_EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"
_SERVER_MAJOR: Final = "SELECT current_setting('server_version_num')::int / 10000"
# Sessions that were signed out since the backup must not come back, and no worker of then is alive.
_AFTER: Final = (
    "UPDATE login_sessions SET revoked_at = statement_timestamp() WHERE revoked_at IS NULL",
    "DELETE FROM login_attempts",
    "DELETE FROM workers",
)


class DatabaseNotEmptyError(HeadraceError):
    """The schema has tables, and nothing was said about them."""

    def __init__(self, schema: str) -> None:
        super().__init__(
            f"the schema {schema} has tables already: restore into an empty database, or replace them with"
            " --replace"
        )


class ServiceRunsError(HeadraceError):
    """Processes of the service are connected to the database."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"Headrace is connected to the database (sessions: {count}): stop its API and workers first"
        )


class SchemaNotInDumpError(HeadraceError):
    """The dump of the archive does not hold the schema that its manifest names."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"the dump of the backup does not hold the schema {schema}; use another backup")


class DatabaseRestore:
    """Restores into one database, which was checked when it was opened."""

    def __init__(
        self,
        address: PostgresAddress,
        connector: PostgresConnector,
        connection: asyncpg.Connection,
        manifest: Manifest,
    ) -> None:
        """*connector* opens a new connection to undo a restore that failed with its connection."""
        self._address = address
        self._connector = connector
        self._connection = connection
        self._manifest = manifest

    async def run(self, dump: Iterator[bytes], major: int) -> None:
        """Restore *dump*, which a pg_dump of *major* has written. If that fails, nothing has changed.

        pg_restore commits by itself, and may do so after this process was killed. No process of the service
        uses the schema until the last transaction has dropped the table that `_mark` creates.

        Raises:
            ToolError: pg_restore is missing, too old, or fails.
            SchemaNotInDumpError: the dump is that of another schema.
        """
        server_major = await self._connection.fetchval(_SERVER_MAJOR)
        tool = find_tool("pg_restore", server_major, major)
        schema = self._manifest.schema
        arguments = [
            "--dbname=postgresql://",  # the variables name the database
            "--exit-on-error",
            "--no-owner",
            "--no-password",
            f"--schema={schema}",
            "--single-transaction",
        ]
        environment = libpq_environment(self._address)
        async with self._replaced(schema) as old:
            async with running_tool(tool, arguments, environment) as running:
                await running.feed(dump)
            await self._finish(schema, old)
        await self._analyze(schema)

    async def _finish(self, schema: str, old: str | None) -> None:
        """Make the restored schema usable, and drop the one that it replaces, in one transaction."""
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL search_path = {quote_identifier(schema)}")
            if not await self._connection.fetchval(_EXISTS, "alembic_version"):
                raise SchemaNotInDumpError(schema)
            for statement in _AFTER:
                await self._connection.execute(statement)
            await self._connection.execute(f"DROP TABLE {UNFINISHED_RESTORE}")
            if old is not None:
                await self._connection.execute(f"DROP SCHEMA {old} CASCADE")

    async def _analyze(self, schema: str) -> None:
        """Give the planner statistics, without which the first jobs of a large installation are slow."""
        for row in await self._connection.fetch(_ANALYZED, quote_identifier(schema)):
            await self._connection.execute(f"ANALYZE {row['name']}")

    @asynccontextmanager
    async def _replaced(self, schema: str) -> AsyncIterator[str | None]:
        """Have a schema without tables for the block, and yield the quoted name of the one that it replaces.

        If the block fails, the schema is again what it was. A schema that an earlier restore has left
        unfinished is dropped at once, and remains unfinished if this restore fails as well.
        """
        name = quote_identifier(schema)
        if await self._connection.fetchval(_EXISTS, f"{name}.{UNFINISHED_RESTORE}"):
            async with self._connection.transaction():
                await self._connection.execute(f"DROP SCHEMA {name} CASCADE")
                await self._create(name)
                await self._mark(name)
            yield None
            return
        if await self._connection.fetchval(_TABLES, name) == 0:
            async with self._filled(name):
                yield None
            return
        old = quote_identifier(f"{schema[:_MAX_NAME]}_{datetime.now(UTC):%Y%m%d%H%M%S}")
        async with self._connection.transaction():
            await self._connection.execute(f"ALTER SCHEMA {name} RENAME TO {old}")
            await self._create(name)
            await self._mark(name)
        try:
            yield old
        except BaseException:
            await self._undo(f"DROP SCHEMA {name} CASCADE", f"ALTER SCHEMA {old} RENAME TO {name}")
            raise

    @asynccontextmanager
    async def _filled(self, name: str) -> AsyncIterator[None]:
        """Have a schema without tables for the block. A failure takes back what has been added to it."""
        is_new = await self._connection.fetchval("SELECT to_regnamespace($1) IS NULL", name)
        before = set(await self._connection.fetch(_OBJECTS, name))
        async with self._connection.transaction():
            if is_new:
                await self._create(name)
            await self._mark(name)
        try:
            yield
        except BaseException:
            if is_new:
                await self._undo(f"DROP SCHEMA {name} CASCADE")
            else:
                await self._undo_objects(name, before)
            raise

    async def _undo(self, *statements: str) -> None:
        """Run the statements in one transaction of a new connection, because the old one may have failed."""
        async with connected(self._connector) as connection, connection.transaction():
            for statement in statements:
                await connection.execute(statement)

    async def _undo_objects(self, name: str, before: set[asyncpg.Record]) -> None:
        """Drop the objects of the schema that were not there before, such as tables and functions."""
        async with connected(self._connector) as connection, connection.transaction():
            for row in await connection.fetch(_OBJECTS, name):
                if row not in before:
                    await connection.execute(f"DROP {row['type']} IF EXISTS {row['identity']} CASCADE")

    async def _create(self, name: str) -> None:
        """Create the schema as `headrace migrate` does."""
        await self._connection.execute(f"CREATE SCHEMA {name}")
        await self._connection.execute(f"GRANT USAGE ON SCHEMA {name} TO PUBLIC")

    async def _mark(self, name: str) -> None:
        """Create the table that keeps every process of the service from using the schema."""
        await self._connection.execute(f"CREATE TABLE {name}.{UNFINISHED_RESTORE} ()")


@asynccontextmanager
async def open_restore(
    address: PostgresAddress, manifest: Manifest, *, replaces: bool
) -> AsyncIterator[DatabaseRestore]:
    """Check that the database may be restored into, and hold a connection to it for the block.

    Raises:
        DatabaseNotEmptyError: it has tables, and they are not to be replaced.
        ServiceRunsError: processes of the service use it.
    """
    # A schema of the setting may be absent, and statements name theirs.
    anywhere = msgspec.structs.replace(address, schema=None)
    connector = PostgresConnector(anywhere, SESSION, answer_seconds=None)
    async with connected(connector) as connection:
        if not replaces and await connection.fetchval(_TABLES, quote_identifier(manifest.schema)):
            raise DatabaseNotEmptyError(manifest.schema)
        if count := await count_lasting(lambda: connection.fetchval(_SESSIONS)):
            raise ServiceRunsError(count)
        yield DatabaseRestore(address, connector, connection, manifest)
