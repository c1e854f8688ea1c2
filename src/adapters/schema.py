"""Compares the schema of the database with the one that this release needs.

A newer release may have migrated the database. Each migration names the oldest revision whose releases still
work with its schema (`works_with`); `migrations/env.py` writes that into the table `schema_mark`.
"""

from typing import Final

from asyncpg import UndefinedTableError

from headrace.adapters.revisions import current_revision, known_revisions, required_revision
from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError

_MARK: Final = "SELECT works_with, release FROM schema_mark"


class SchemaError(HeadraceError):
    """This release cannot work with the schema of the database."""


class SchemaBehindError(SchemaError):
    """The schema is older than this release needs."""

    def __init__(self) -> None:
        super().__init__("the database schema is older than this release needs; run: headrace migrate")


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
        SchemaBehindError, SchemaAheadError: it cannot.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    fault = await find_schema_fault(database, await current_revision(database))
    if fault is not None:
        raise fault


async def find_schema_fault(database: Database, revision: str | None) -> SchemaError | None:
    """Return why this release cannot work with the schema at *revision*; None if it can."""
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
