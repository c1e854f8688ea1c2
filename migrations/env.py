"""Runs migrations on the engine that `headrace.adapters.migrations` builds, in one transaction."""

import asyncio
from importlib.metadata import version

from alembic import context
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.installed_schema import (
    DEFAULT_NOTE,
    DEFAULT_SCHEMA,
    MISSING_RIGHTS,
    quote_identifier,
    refused_schema,
)
from headrace.adapters.migrations import MigrationProbe
from headrace.domain.database import DatabaseMisconfiguredError

# An arbitrary advisory lock: two deployments that migrate the same schema at the same time run one after the
# other. Installations in other schemas do not wait.
_LOCK = 0x4EAD_4ACE
_TAKE_LOCK = "SELECT pg_advisory_xact_lock(:lock, hashtext(current_setting('search_path')))"

_FIND_RIGHTS = """
SELECT current_user AS role, current_database() AS database,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       EXISTS (SELECT FROM pg_namespace WHERE nspname = :schema) AS exists
"""

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


def _create_schema(connection: Connection) -> None:
    """Create the schema of this installation, unless it exists.

    Raises:
        DatabaseMisconfiguredError: the role lacks a right, or no schema of the URL's path exists.
    """
    if connection.scalar(text("SELECT current_schema()")) is not None:
        return
    schema: str | None = context.config.attributes["schema"]
    if schema is None:
        path = connection.scalar(text("SELECT current_setting('search_path')"))
        raise DatabaseMisconfiguredError(f"no schema of search_path={path} exists", "no such schema")
    rights = connection.execute(text(_FIND_RIGHTS), {"schema": schema}).mappings().one()
    if rights["exists"]:
        raise refused_schema(schema, rights["role"])
    if not rights["may_create"]:
        raise DatabaseMisconfiguredError(
            f"the role {rights['role']} may not create the schema {schema} in the database"
            f" {rights['database']}; an administrator runs there:"
            f" CREATE SCHEMA {quote_identifier(schema)} AUTHORIZATION {quote_identifier(rights['role'])}",
            MISSING_RIGHTS,
        )
    connection.execute(text(f"CREATE SCHEMA {quote_identifier(schema)}"))
    # As on `public`. Otherwise PostgreSQL tells a role that has lost its rights that no tables exist.
    connection.execute(text(f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO PUBLIC"))


def _note_default(connection: Connection) -> None:
    """Note that processes without the setting use this schema, whatever appears in others later."""
    is_default = connection.scalar(text("SELECT current_schema()")) == DEFAULT_SCHEMA
    if is_default and not context.config.attributes["is_schema_set"]:
        connection.execute(text(f"COMMENT ON TABLE schema_mark IS '{DEFAULT_NOTE}'"))


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
        _note_default(connection)


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("models", _NAMES),
        compare_type=True,
        include_name=_is_ours,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text(_TAKE_LOCK), {"lock": _LOCK})
        _create_schema(connection)
        # Queries of a table queue behind a migration that waits for its lock.
        connection.execute(text("SET LOCAL lock_timeout = '3s'"))
        probe: MigrationProbe | None = context.config.attributes.get("probe")
        if probe is not None:
            probe.begin(connection)
        context.run_migrations()
        if probe is not None:
            probe.end(connection)
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
