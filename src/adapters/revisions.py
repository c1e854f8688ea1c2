"""Names the revisions of this installation, and that of a database. Workers import it, but no Alembic."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from asyncpg import UndefinedTableError

from headrace.adapters.installed_schema import require_usable_schema
from headrace.domain.database import Database

_REVISION: Final = re.compile(r'^revision = "(?P<name>[^"]+)"$', re.MULTILINE)
_PARENT: Final = re.compile(r'^down_revision = "(?P<name>[^"]+)"$', re.MULTILINE)


def _migrations_folder() -> Path:
    """The folder of the migrations: inside an installed package, beside `src` in a source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


MIGRATIONS: Final = _migrations_folder()


def newest_revision() -> str:
    """Return the newest revision, which this code needs."""
    return known_revisions()[0]


@cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions of this installation, the newest first."""
    children: dict[str | None, str] = {}
    for file in (MIGRATIONS / "versions").glob("*.py"):
        source = file.read_text()
        if (revision := _REVISION.search(source)) is not None:
            parent = _PARENT.search(source)
            children[parent and parent["name"]] = revision["name"]
    revisions: list[str] = []
    while (child := children.get(revisions[-1] if revisions else None)) is not None:
        revisions.append(child)
    return tuple(reversed(revisions))


async def current_revision(database: Database) -> str | None:
    """Return the current revision of *database*; None before the first migration.

    Raises:
        DatabaseMisconfiguredError: the role may not use the schema.
    """
    try:
        rows = await database.fetch("SELECT version_num FROM alembic_version")
    except UndefinedTableError:
        await require_usable_schema(database)
        return None
    return str(rows[0]["version_num"]) if rows else None
