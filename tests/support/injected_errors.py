"""Lets PostgreSQL answer statements with errors of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from headrace.domain.database import Database

# One of each class that PostgreSQL documents, and those that say that it is read-only, full or locked.
SQLSTATES: Final = (
    *(
        "08006",
        "0A000",
        "21000",
        "22003",
        "22P05",
        "23505",
        "25006",
        "25P03",
        "28000",
        "2BP01",
        "3D000",
        "40001",
    ),
    *("40P01", "42501", "42P01", "53100", "53200", "53300", "54000", "55000", "55P03", "57014", "57P01"),
    *("58030", "F0000", "P0001", "XX000", "XX001"),
)
# A statement that changes no row fires the trigger as well. One in *every* fails, from any connection.
_INJECT: Final = (
    "CREATE SEQUENCE IF NOT EXISTS injections",
    """
    CREATE OR REPLACE FUNCTION inject() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        every int := TG_ARGV[0];
        codes text[] := TG_ARGV[1];
    BEGIN
        IF nextval('injections') % every = 0 THEN
            RAISE EXCEPTION 'injected' USING
                ERRCODE = codes[1 + currval('injections') / every % cardinality(codes)];
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER inject AFTER {event} ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION inject({every}, '{{{codes}}}')
    """,
)

# A view that is written or read evaluates the function once, even if the table has no rows.
_REFUSE_READS: Final = """
DO $refuse$ BEGIN
    ALTER TABLE {table} RENAME TO {table}_kept;
    CREATE SEQUENCE IF NOT EXISTS refusals;
    CREATE OR REPLACE FUNCTION refuse_read() RETURNS boolean STABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM nextval('refusals'); RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $$;
    CREATE VIEW {table} AS SELECT * FROM {table}_kept WHERE refuse_read();
END $refuse$
"""
_ALLOW_READS: Final = """
DO $$ BEGIN
    DROP VIEW {table};
    ALTER TABLE {table}_kept RENAME TO {table};
END $$
"""

COUNT_WRITES: Final = "SELECT last_value AS count FROM injections"
"""Counts the writes that the trigger has seen."""


async def inject(
    database: Database, *sqlstates: str, every: int, table: str = "step_runs", event: str = "INSERT"
) -> None:
    """Answer one in *every* writes to *table* with one of *sqlstates*, in turn. A call may be repeated.

    *event*: which writes. Every write of an attempt inserts step runs.
    """
    for statement in _INJECT:
        await database.fetch(
            statement.format(every=every, codes=",".join(sqlstates), table=table, event=event)
        )


async def stop_injecting(database: Database, table: str = "step_runs") -> None:
    """Let all writes to *table* pass again. A call may be repeated."""
    await database.fetch(f"DROP TRIGGER IF EXISTS inject ON {table}")


@asynccontextmanager
async def refused_writes(
    database: Database, sqlstate: str, table: str, event: str = "INSERT OR UPDATE OR DELETE"
) -> AsyncIterator[None]:
    """Answer every write to *table* in the block with *sqlstate*."""
    await inject(database, sqlstate, every=1, table=table, event=event)
    try:
        yield
    finally:
        await stop_injecting(database, table)


@asynccontextmanager
async def refused_reads(database: Database, sqlstate: str, table: str) -> AsyncIterator[None]:
    """Answer every statement that names *table* in the block with *sqlstate*."""
    await database.fetch(_REFUSE_READS.format(table=table, sqlstate=sqlstate))
    try:
        yield
    finally:
        await database.fetch(_ALLOW_READS.format(table=table))


async def until_refused(database: Database, count: int) -> None:
    """Wait until *count* more statements are refused by `refused_reads`."""
    statement = "SELECT last_value AS count FROM refusals"
    (row,) = await database.fetch(statement)
    wanted = row["count"] + count
    async with asyncio.timeout(60):
        while row["count"] < wanted:
            await asyncio.sleep(0.05)
            (row,) = await database.fetch(statement)


async def count_writes(database: Database) -> int:
    (row,) = await database.fetch(COUNT_WRITES)
    count: int = row["count"]
    return count
