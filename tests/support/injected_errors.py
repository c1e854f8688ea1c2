"""Lets PostgreSQL answer writes of the workers with errors of its own."""

from typing import Final

from headrace.domain.database import Database

# One of each class that PostgreSQL documents, and those that say that it is read-only, full or locked.
SQLSTATES: Final = (
    *("08006", "0A000", "21000", "22003", "22P05", "23505", "25006", "28000", "2BP01", "3D000", "40001"),
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


async def count_writes(database: Database) -> int:
    (row,) = await database.fetch(COUNT_WRITES)
    count: int = row["count"]
    return count
