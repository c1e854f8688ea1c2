"""Finds out which locks migrations take, by running them on empty tables in a scratch schema of the database.

What they lock, rewrite and read is then what PostgreSQL itself says, and no table of the service is touched.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from headrace.adapters.database import StatementPool
from headrace.adapters.installed_schema import quote_identifier
from headrace.adapters.migrations import AlembicCommands, upgrade
from headrace.adapters.online_changes import NewIndex, build_in_transaction
from headrace.adapters.postgres_url import PostgresAddress

# Weakest first. Those that any statement takes which reads are left out.
_MODES: Final = (
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_CONCURRENT_BUILD: Final = "SHARE UPDATE EXCLUSIVE"
_OURS: Final = "c.relnamespace = to_regnamespace(quote_ident(current_schema()))"
# A partition counts as its table.
_TABLES: Final = f"""
SELECT c.oid, coalesce(parent.relname, c.relname) AS name, c.relfilenode AS filenode
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE {_OURS} AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('alembic_version', 'schema_mark')
"""  # noqa: S608
_LOCKS: Final = """
SELECT relation, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation = ANY(:tables)
"""
_FILENODES: Final = "SELECT oid, relfilenode AS filenode FROM pg_class WHERE oid = ANY(:tables)"
# What PostgreSQL makes or checks by reading all rows: indexes, constraints, columns that must hold no null.
_BUILT: Final = """
SELECT indrelid AS table, indexrelid::text AS name FROM pg_index WHERE indrelid = ANY(:tables)
UNION ALL
SELECT conrelid, oid::text FROM pg_constraint
WHERE contype IN ('c', 'f') AND convalidated AND conrelid = ANY(:tables)
"""
_COLUMNS: Final = """
SELECT attrelid AS table, attname AS name FROM pg_attribute
WHERE attnum > 0 AND NOT attisdropped AND attrelid = ANY(:tables) AND attnotnull = {is_required}
"""
_NULLABLE: Final = _COLUMNS.format(is_required=False)
_REQUIRED: Final = _COLUMNS.format(is_required=True)


class TableLock(Struct, frozen=True, omit_defaults=True):
    """The strongest lock that a transaction of a migration takes on a table that exists before it.

    *rewrites*: the lock is held while the table is written anew. *reads_all*: while all of it is read.
    *index*: the name of an index that is built meanwhile, outside of a transaction.
    """

    table: str
    mode: str
    rewrites: bool
    reads_all: bool
    index: str | None = None


class LockProbe:
    """Compares the tables before and after a migration, within its transaction."""

    def __init__(self) -> None:
        self.locks: list[TableLock] = []
        self._names: dict[int, str] = {}
        self._filenodes: dict[int, int] = {}
        self._built: set[tuple[int, str]] = set()
        self._nullable: set[tuple[int, str]] = set()
        self._indexes: list[NewIndex] = []

    def begin(self, connection: Connection) -> None:
        rows = connection.execute(text(_TABLES)).all()
        self._names = {row.oid: row.name for row in rows}
        self._filenodes = {row.oid: row.filenode for row in rows}
        self._built = self._pairs(connection, _BUILT)
        self._nullable = self._pairs(connection, _NULLABLE)

    def note_index(self, index: NewIndex) -> None:
        self._indexes.append(index)

    def end(self, connection: Connection) -> None:
        self.locks = self._find_locks(connection)
        for index in self._indexes:
            self.locks.append(TableLock(index.table, _CONCURRENT_BUILD, False, True, index.name))
            # Later migrations may change it.
            build_in_transaction(connection, index)

    def _find_locks(self, connection: Connection) -> list[TableLock]:
        modes: dict[str, list[str]] = {}
        for oid, mode in self._pairs(connection, _LOCKS):
            if mode in _MODES:
                modes.setdefault(self._names[oid], []).append(mode)
        filenodes = self._pairs(connection, _FILENODES)
        rewritten = {self._names[oid] for oid, filenode in filenodes if filenode != self._filenodes[oid]}
        checked = self._pairs(connection, _BUILT) - self._built
        checked |= self._pairs(connection, _REQUIRED) & self._nullable
        read = {self._names[oid] for oid, _ in checked}
        return [
            TableLock(table, _sql_name(max(found, key=_MODES.index)), table in rewritten, table in read)
            for table, found in sorted(modes.items())
        ]

    def _pairs(self, connection: Connection, query: str) -> set[tuple[int, Any]]:
        """Return what *query* finds about the tables that existed before the migration."""
        rows = connection.execute(text(query), {"tables": list(self._names)})
        return {(oid, value) for oid, value in rows}


def _sql_name(mode: str) -> str:
    """Return the name of a mode as SQL and the manual of PostgreSQL spell it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", mode.removesuffix("Lock")).upper()


def find_locks(address: PostgresAddress, current: str, pending: Sequence[str]) -> dict[str, list[TableLock]]:
    """Return the locks of each revision in *pending*, oldest first, after *current*.

    Raises:
        DatabaseMisconfiguredError: the role may not create a schema.
    """
    scratch = msgspec.structs.replace(address, schema=f"headrace_check_{uuid4().hex[:12]}")
    locks = {}
    try:
        upgrade(scratch, current)
        for revision in pending:
            probe = LockProbe()
            AlembicCommands(scratch, probe).upgrade(revision)
            locks[revision] = probe.locks
    finally:
        asyncio.run(_drop(scratch))
    return locks


async def _drop(scratch: PostgresAddress) -> None:
    pool = await StatementPool.open(scratch, size=1)
    try:
        await pool.fetch(f"DROP SCHEMA IF EXISTS {quote_identifier(str(scratch.schema))} CASCADE")
    finally:
        await pool.close()
