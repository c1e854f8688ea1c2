"""Runs migrations on the engine that `headrace.adapters.migrations` builds, in one transaction."""

import asyncio
from importlib.metadata import version

from alembic import context
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine

# An arbitrary advisory lock: two deployments that migrate at the same time run one after the other.
_LOCK = 0x4EAD_4ACE

# How the models name what has no name of its own. Importing the models instead takes a second.
_NAMES = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_CREATE_MARK = """
CREATE TABLE IF NOT EXISTS schema_mark (works_with varchar(32) NOT NULL, release varchar(64) NOT NULL)
"""


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Exclude the mark, and the partitions of the event log, which come and go without migrations."""
    is_other = name is not None and (name == "schema_mark" or name.startswith("job_changes_"))
    return not (kind == "table" and is_other)


def _mark_schema(connection: Connection) -> None:
    """Store the oldest revision whose releases work with this schema, for older releases that still run.

    The newest migration names it: `works_with`. A migration that does not works only with its own release.
    """
    revision = context.get_context().get_current_revision()
    if revision is None:
        connection.execute(text("DROP TABLE IF EXISTS schema_mark"))
        return
    script = context.script.get_revision(revision)
    mark = {"works_with": getattr(script.module, "works_with", revision), "release": version("headrace")}
    connection.execute(text(_CREATE_MARK))
    if [mark] != [dict(row) for row in connection.execute(text("SELECT * FROM schema_mark")).mappings()]:
        connection.execute(text("DELETE FROM schema_mark"))
        connection.execute(text("INSERT INTO schema_mark VALUES (:works_with, :release)"), mark)


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("models", _NAMES),
        compare_type=True,
        include_name=_is_ours,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Queries of a table queue behind a migration that waits for its lock.
        connection.execute(text("SET LOCAL lock_timeout = '3s'"))
        context.run_migrations()
        _mark_schema(connection)


async def _run() -> None:
    engine: AsyncEngine = context.config.attributes["engine"]
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run())
