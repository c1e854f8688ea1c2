"""The schema of the database: brought up to date by Alembic, over advanced-alchemy."""

from pathlib import Path
from typing import Final

import asyncpg
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import AlembicAsyncConfig, SQLAlchemyAsyncConfig
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

import headrace.domain.tables  # noqa: F401  (every table is known to migrations)
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
    """The database is not at the version that this code needs."""


def alembic_commands(url: str) -> AlembicCommands:
    """Alembic over advanced-alchemy, for `headrace migrate` and the checks."""
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


def list_revisions() -> list[tuple[str, str]]:
    """The name of each revision and what it does, the newest first."""
    return [(one.revision, one.doc) for one in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]


async def current_revision(database: Database) -> str | None:
    """The revision that *database* is at; None before the first."""
    try:
        rows = await database.fetch("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return str(rows[0]["version_num"]) if rows else None
