"""Upgrades the database schema with Alembic, through advanced-alchemy."""

import time
from typing import Final

import asyncpg
import structlog
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import AlembicAsyncConfig, SQLAlchemyAsyncConfig
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

import headrace.domain.tables  # noqa: F401  (registers every table)
from headrace.adapters.database import CONNECT_SECONDS
from headrace.adapters.engine import sqlalchemy_url
from headrace.adapters.revisions import MIGRATIONS
from headrace.domain.base import METADATA
from headrace.domain.database import DatabaseAwayError
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)


_LOCK_NOT_AVAILABLE: Final = "55P03"
_MAX_TRIES: Final = 20
_PAUSE_SECONDS: Final = 2.0


class SchemaLockedError(HeadraceError):
    """Other sessions hold locks that a migration needs."""

    def __init__(self) -> None:
        super().__init__(
            "other sessions hold locks on the tables, such as a backup or an open transaction: wait for them"
            " or end them, then migrate again"
        )


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

    It waits 3 s for the lock of a table, since those who use the table wait behind it. Then it begins again.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        SchemaLockedError: other sessions have held locks for over a minute.
    """
    for _ in range(_MAX_TRIES):
        try:
            alembic_commands(url).upgrade()
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
            raise DatabaseAwayError(str(error) or type(error).__name__) from error
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            _log.warning("migration_waits_for_a_lock")
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    raise SchemaLockedError


def list_revisions() -> list[tuple[str, str]]:
    """Return the name and the summary of each revision, the newest first."""
    return [(script.revision, script.doc) for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
