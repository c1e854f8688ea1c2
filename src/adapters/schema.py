"""Compares the schema of the database with the one that this release needs.

A newer release may have migrated the database. Each migration names the oldest revision whose releases still
work with its schema (`works_with`); `migrations/env.py` writes that into the table `schema_mark`.
"""

from typing import Final

from asyncpg import UndefinedTableError

from headrace.adapters.revisions import current_revision, known_revisions, required_revision
from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError

UNFINISHED_RESTORE: Final = "unfinished_restore"
"""The table that a restore creates before it changes anything else, and drops in its last transaction."""
IS_RESTORE_UNFINISHED: Final = f"SELECT to_regclass('{UNFINISHED_RESTORE}') IS NOT NULL AS is_unfinished"
_MARK: Final = "SELECT works_with, release FROM schema_mark"


class SchemaError(HeadraceError):
    """This release cannot work with the schema of the database."""


class SchemaBehindError(SchemaError):
    """The schema is older than this release needs."""

    def __init__(self) -> None:
        super().__init__("the database schema is older than this release needs; run: headrace migrate")


class UnfinishedRestoreError(SchemaError):
    """A restore of the schema runs, or was killed: sign-ins that were revoked would be valid again."""

    def __init__(self) -> None:
        super().__init__(
            "a restore into this schema has not finished: wait for its end, or, if it was stopped, run again:"
            " headrace restore --replace FILE"
        )


class SchemaAheadError(SchemaError):
    """A newer release has migrated the database, and its schema does not work with this one."""

    def __init__(self, revision: str, release: str | None) -> None:
        needed = f"headrace {release} or later" if release else "the release that has migrated it"
        super().__init__(
            f"the database schema (revision {revision}) is too new for this release"
            f" (revision {known_revisions()[0]}); install {needed}"
        )


async def require_schema(database: Database) -> None:
    """Check that this release can work with the schema.

    Raises:
        SchemaBehindError, SchemaAheadError, UnfinishedRestoreError: it cannot.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    fault = await find_schema_fault(database, await current_revision(database))
    if fault is not None:
        raise fault


async def require_finished_restore(database: Database) -> None:
    """Check that no restore into the schema runs or was killed.

    Raises:
        UnfinishedRestoreError: one has not finished.
    """
    if await has_unfinished_restore(database):
        raise UnfinishedRestoreError


async def has_unfinished_restore(database: Database) -> bool:
    """Return whether the schema has the table that marks a restore which has not finished."""
    (row,) = await database.fetch(IS_RESTORE_UNFINISHED)
    return bool(row["is_unfinished"])


async def find_schema_fault(database: Database, revision: str | None) -> SchemaError | None:
    """Return why this release cannot work with the schema at *revision*; None if it can."""
    if await has_unfinished_restore(database):
        return UnfinishedRestoreError()
    known = known_revisions()
    if revision in known[: known.index(required_revision()) + 1]:
        return None
    if revision is None or revision in known:
        return SchemaBehindError()
    try:
        rows = await database.fetch(_MARK)
    except UndefinedTableError:
        rows = ()
    works_with, release = (rows[0]["works_with"], rows[0]["release"]) if rows else (None, None)
    return None if works_with in known_revisions() else SchemaAheadError(revision, release)
