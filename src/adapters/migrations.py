"""Upgrades the database schema with Alembic, through advanced-alchemy."""

from pathlib import Path
from typing import Final

import asyncpg
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import AlembicAsyncConfig, SQLAlchemyAsyncConfig
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

import headrace.domain.tables  # noqa: F401  (registers every table)
from headrace.adapters.database import CONNECT_SECONDS
from headrace.adapters.engine import sqlalchemy_url
from headrace.domain.base import METADATA
from headrace.domain.database import Database, DatabaseAwayError
from headrace.domain.errors import HeadraceError


def _migrations_folder() -> Path:
    """The folder of the migrations: inside an installed package, beside `src` in a source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


MIGRATIONS: Final = _migrations_folder()


class SchemaError(HeadraceError):
    """The installation has no migrations."""


def alembic_commands(url: str) -> AlembicCommands:
    """Build the Alembic commands, for `headrace migrate` and the checks."""
    config = SQLAlchemyAsyncConfig(
        engine_instance=create_async_engine(sqlalchemy_url(url), connect_args={"timeout": CONNECT_SECONDS}),
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
    """Upgrade the database to the newest revision, in one transaction.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
    """
    try:
        alembic_commands(url).upgrade()
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise DatabaseAwayError(str(error) or type(error).__name__) from error


def newest_revision() -> str:
    """Return the newest revision, which this code needs."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if head is None:
        raise SchemaError("there are no migrations in this installation")
    return head


def list_revisions() -> list[tuple[str, str]]:
    """Return the name and the summary of each revision, the newest first."""
    return [(script.revision, script.doc) for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]


async def current_revision(database: Database) -> str | None:
    """Return the current revision of *database*; None before the first migration."""
    try:
        rows = await database.fetch("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return str(rows[0]["version_num"]) if rows else None
