"""Upgrades the database schema with Alembic, without the models: importing those takes a second."""

import time
from collections.abc import Callable
from typing import Final, Protocol

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError

from headrace.adapters.database_errors import translate_database_error
from headrace.adapters.engine import create_engine
from headrace.adapters.installed_schema import DEFAULT_SCHEMA
from headrace.adapters.online_changes import NewIndex
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import PostgresAddress, as_postgres_address
from headrace.adapters.revisions import MIGRATIONS
from headrace.domain.database import DatabaseAwayError
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)


# A lock that was not granted in time, and a deadlock: PostgreSQL ends one of the sessions.
_LOCKED: Final = ("55P03", "40P01")
_MAX_TRIES: Final = 20
_SESSION: Final = {
    "application_name": "headrace",
    # Queries of a table queue behind a migration that waits for its lock.
    "lock_timeout": "3s",
    # That of the role or the database is meant for others.
    "statement_timeout": "0",
}
_PAUSE_SECONDS: Final = 2.0


class SchemaLockedError(HeadraceError):
    """Other sessions hold locks that a migration needs."""

    def __init__(self) -> None:
        super().__init__(
            "other sessions hold locks on the tables, such as a backup or an open transaction: wait for them"
            " or end them, then migrate again"
        )


class MigrationProbe(Protocol):
    """Looks at the transaction of a migration on empty tables."""

    def begin(self, connection: Connection) -> None:
        """Look at the database before the migration."""

    def note_index(self, index: NewIndex) -> None:
        """Note an index that the migration builds outside of its transaction."""

    def end(self, connection: Connection) -> None:
        """Look at what the migration has done, before it is committed."""


class MigrationProgress:
    """The revision of the database, and how many migrations have been committed since the start."""

    def __init__(self) -> None:
        self.revision: str | None = None
        self.committed = 0


class AlembicCommands:
    """Alembic's commands for one database."""

    def __init__(self, address: PostgresAddress | str, probe: MigrationProbe | None = None) -> None:
        parsed = as_postgres_address(address)
        connector = PostgresConnector(parsed, _SESSION, answer_seconds=None)
        self._config = Config(MIGRATIONS / "alembic.ini")
        # The parser of the file takes a single % for the start of a reference.
        self._config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        # `env.py` runs the migrations on it.
        self._config.attributes["engine"] = create_engine(connector.connect)
        # A schema of a path in the URL is its owner's to create.
        is_path_given = parsed.schema is None and "search_path" in parsed.session
        self._config.attributes["schema"] = None if is_path_given else parsed.schema or DEFAULT_SCHEMA
        self._config.attributes["is_schema_set"] = parsed.schema is not None
        self._config.attributes["probe"] = probe
        self._config.attributes["is_whole"] = False
        self._progress = self._config.attributes["progress"] = MigrationProgress()

    def upgrade(self, revision: str = "head") -> None:
        """Upgrade the database to *revision*. Each migration is a transaction, except in a new database.

        It waits 3 s for the lock of a table, as those who use the table wait behind it. Then it begins that
        migration again.

        Raises:
            SchemaLockedError: other sessions have held locks for over a minute.
            IndexNotBuiltError: the build of an index was cancelled, or waited for an hour.
            MigrationRunsError: another process has been migrating for an hour.
        """
        self._retry_for_locks(command.upgrade, revision)

    def downgrade(self, revision: str) -> None:
        """Downgrade the database to *revision*, in one transaction; `base` removes the tables.

        A migration may refuse to go back, and then nothing has changed. It waits as `upgrade` does.

        Raises:
            SchemaLockedError: other sessions have held locks for over a minute.
            MigrationRunsError: another process has been migrating for an hour.
        """
        self._retry_for_locks(command.downgrade, revision)

    def _retry_for_locks(self, migrate: Callable[[Config, str], None], revision: str) -> None:
        self._config.attributes["is_whole"] = migrate is command.downgrade
        tries = 0
        while tries < _MAX_TRIES:
            committed = self._progress.committed
            try:
                return migrate(self._config, revision)
            except (DBAPIError, asyncpg.PostgresError) as error:
                if _refusal(error)[1] not in _LOCKED:
                    raise
            tries = tries + 1 if self._progress.committed == committed else 1
            _log.warning("migration_waits_for_a_lock", after=self._progress.revision)
            time.sleep(_PAUSE_SECONDS)
        raise SchemaLockedError

    def check(self, models: MetaData) -> None:
        """Compare the database with *models*.

        Raises:
            AutogenerateDiffsDetected: they differ.
        """
        self._config.attributes["models"] = models
        command.check(self._config)


def upgrade(address: PostgresAddress | str, revision: str = "head") -> None:
    """Upgrade the database to *revision*, as `AlembicCommands` does.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseMisconfiguredError: the login or a right is missing.
        DatabaseRefusingError: it is read-only, or its disk is full.
        SchemaLockedError, IndexNotBuiltError, MigrationRunsError: other sessions are in the way.
    """
    try:
        AlembicCommands(address).upgrade(revision)
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise DatabaseAwayError(str(error) or type(error).__name__) from error
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        refusal, _ = _refusal(error)
        translated = None if refusal is None else translate_database_error(refusal)
        if translated is None:
            raise
        raise translated from error


_Refusal = asyncpg.PostgresError | asyncpg.InterfaceError


def _refusal(error: DBAPIError | _Refusal) -> tuple[BaseException | None, str | None]:
    """Return the driver's error, and its SQLSTATE."""
    refusal = getattr(error.orig, "__cause__", None) if isinstance(error, DBAPIError) else error
    return refusal, getattr(refusal, "sqlstate", None)


def list_revisions() -> list[tuple[str, str]]:
    """Return the name and the summary of each revision, the newest first."""
    return [(script.revision, script.doc) for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
