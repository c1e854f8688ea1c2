"""Runs migrations on the engine that `headrace.adapters.migrations` builds.

Each migration is a transaction, with the mark of the schema that it leaves. A new database, where nobody
waits, and the empty tables of a probe are migrated in one, and so is each downgrade.
"""

import asyncio
import time
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.concurrent_index import build_concurrently
from headrace.adapters.installed_schema import (
    DEFAULT_NOTE,
    DEFAULT_SCHEMA,
    MISSING_RIGHTS,
    quote_identifier,
    refused_schema,
)
from headrace.adapters.migration_turn import hold_turn
from headrace.adapters.migrations import MigrationProbe, MigrationProgress
from headrace.adapters.online_changes import BUILD_INDEX, COMMITS_STEPS, build_in_transaction
from headrace.domain.database import DatabaseMisconfiguredError

_log = structlog.get_logger(__name__)

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


def _configure(connection: Connection, **options: Any) -> None:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("models", _NAMES),
        compare_type=True,
        include_name=_is_ours,
        **options,
    )


def _migrate_at_once(connection: Connection, probe: MigrationProbe | None) -> None:
    """Migrate in one transaction."""
    build = partial(build_in_transaction, connection) if probe is None else probe.note_index
    options = {BUILD_INDEX: build, COMMITS_STEPS: False}
    _configure(connection, transaction_per_migration=False, **options)
    with context.begin_transaction():
        _create_schema(connection)
        if probe is not None:
            probe.begin(connection)
        context.run_migrations()
        if probe is not None:
            probe.end(connection)
        _mark_schema(connection)


class _Steps:
    """Marks the schema in the transaction of each migration, and logs how long it took."""

    def __init__(self, connection: Connection, progress: MigrationProgress) -> None:
        self._connection = connection
        self._progress = progress
        self._started_at = time.monotonic()

    def end(self, *, step: MigrationInfo, **_: object) -> None:
        _mark_schema(self._connection)
        seconds = time.monotonic() - self._started_at
        _log.info("schema_migrated", revision=step.up_revision_id, seconds=round(seconds, 1))
        self._progress.revision = step.up_revision_id
        self._progress.committed += 1
        self._started_at = time.monotonic()


def _migrate_in_steps(connection: Connection) -> None:
    attributes = context.config.attributes
    options = {BUILD_INDEX: partial(build_concurrently, attributes["engine"]), COMMITS_STEPS: True}
    steps = _Steps(connection, attributes["progress"])
    _configure(connection, transaction_per_migration=True, on_version_apply=steps.end, **options)
    with context.begin_transaction():
        context.run_migrations()
    # The release of the mark changes also if no migration ran.
    _mark_schema(connection)


def _migrate(connection: Connection) -> None:
    attributes = context.config.attributes
    current = MigrationContext.configure(connection).get_current_revision()
    # Alembic leaves a transaction that has begun to its caller.
    connection.commit()
    attributes["progress"].revision = current
    probe: MigrationProbe | None = attributes["probe"]
    if current is None or probe is not None or attributes["is_whole"]:
        _migrate_at_once(connection, probe)
    else:
        _migrate_in_steps(connection)


async def _run() -> None:
    engine: AsyncEngine = context.config.attributes["engine"]
    try:
        async with engine.connect() as connection, hold_turn(connection):
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run())
