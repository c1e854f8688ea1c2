"""Names the revisions of this installation, and that of a database. Workers import it, but no Alembic."""

import re
from functools import cache
from pathlib import Path
from typing import Final, Literal

from asyncpg import UndefinedTableError

from headrace.adapters.installed_schema import require_usable_schema
from headrace.domain.database import Database

_REVISION: Final = re.compile(r'^revision = "(?P<name>[^"]+)"$', re.MULTILINE)
_PARENT: Final = re.compile(r'^down_revision = "(?P<name>[^"]+)"$', re.MULTILINE)
_POST: Final = re.compile(r"[0-9]+_post_")
Phase = Literal["pre", "post"]
"""Whether a migration runs before the processes of its release start, or after all older ones have ended."""


def _migrations_folder() -> Path:
    """The folder of the migrations: inside an installed package, beside `src` in a source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


MIGRATIONS: Final = _migrations_folder()


def newest_revision() -> str:
    """Return the newest revision."""
    return known_revisions()[0]


def required_revision() -> str:
    """Return the oldest revision with which this code works: migrations with `post_` may follow later."""
    phases = phases_of_revisions()
    return next((name for name in known_revisions() if phases[name] == "pre"), newest_revision())


def known_revisions() -> tuple[str, ...]:
    """Return the revisions of this installation, the newest first."""
    return tuple(phases_of_revisions())


@cache
def phases_of_revisions() -> dict[str, Phase]:
    """Return the phase of each revision of this installation, the newest first."""
    children: dict[str | None, tuple[str, Phase]] = {}
    for file in (MIGRATIONS / "versions").glob("*.py"):
        source = file.read_text()
        if (revision := _REVISION.search(source)) is not None:
            parent = _PARENT.search(source)
            phase: Phase = "post" if _POST.match(file.name) else "pre"
            children[parent and parent["name"]] = (revision["name"], phase)
    phases: list[tuple[str, Phase]] = []
    while (child := children.get(phases[-1][0] if phases else None)) is not None:
        phases.append(child)
    return dict(reversed(phases))


def waiting_revisions(current: str | None) -> list[str]:
    """Return the revisions after *current*, oldest first; none after an unknown one, of a newer release."""
    known = known_revisions()
    return list(reversed(known[: known.index(current)])) if current in known else []


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
