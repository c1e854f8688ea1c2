"""Migrations delete no rows by accident and know all tables."""

import importlib
import runpy
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import MetaData, Table

from headrace.domain import tables
from support.migration_lint import unmarked_drops

ROOT = Path(__file__).parents[2]
FIRST_MARKED = "0011"
VERSIONS = sorted((ROOT / "migrations" / "versions").glob("*.py"))


def migration(upgrade: str) -> str:
    """Return a migration with this *upgrade*; its downgrade is a drop, as usual."""
    down = "def downgrade():\n    op.drop_table('new')\n"
    return f"from alembic import op\n\ndef upgrade():\n    {upgrade}\n\n{down}"


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_every_drop_in_a_migration_is_explained(path: Path) -> None:
    assert unmarked_drops(path.read_text()) == []


@pytest.mark.parametrize(
    ("upgrade", "drops"),
    [
        ("op.drop_table('jobs')", ["4: drop_table"]),
        ("op.drop_column('jobs', 'meta')", ["4: drop_column"]),
        ("with op.batch_alter_table('jobs') as jobs:\n        jobs.drop_column('meta')", ["5: drop_column"]),
        ("op.execute('DROP TABLE jobs')", ["4: drop table"]),
        ("op.execute('ALTER TABLE jobs DROP  COLUMN meta')", ["4: drop  column"]),
        ("op.execute('TRUNCATE jobs')", ["4: truncate"]),
        ("# drops:\n    op.drop_table('jobs')", ["5: drop_table"]),
        ("# drops: nobody has read it since 0.2\n    op.drop_table('jobs')", []),
        ("op.drop_column('jobs', 'meta')  # drops: copied to details above", []),
        ("op.drop_index('ix_jobs_lease', 'jobs')", []),
        ("op.add_column('jobs', None)", []),
    ],
)
def test_unexplained_drops_are_found(upgrade: str, drops: list[str]) -> None:
    assert unmarked_drops(migration(upgrade)) == drops


def test_a_drop_in_a_helper_of_the_upgrade_is_found() -> None:
    source = migration("_clear()") + "\ndef _clear():\n    op.drop_table('jobs')\n"

    assert unmarked_drops(source) == ["10: drop_table"]


def works_with_faults(migrations: Iterable[SimpleNamespace], known: Iterable[str] = ()) -> list[str]:
    """Return the revisions whose `works_with` is missing, unknown, or older than that of the one before.

    The revisions *known* came before them.
    """
    faults, known, previous = [], list(known), ""
    for migration in migrations:
        known.append(migration.revision)
        works_with = getattr(migration, "works_with", None)
        if works_with not in known or works_with < previous:
            faults.append(migration.revision)
        previous = works_with or previous
    return faults


def test_every_migration_since_the_mark_says_which_releases_work_with_its_schema() -> None:
    before = [path.stem[:4] for path in VERSIONS if path.stem[:4] < FIRST_MARKED]
    marked = [path for path in VERSIONS if path.stem[:4] >= FIRST_MARKED]

    assert before
    assert works_with_faults((SimpleNamespace(**runpy.run_path(str(path))) for path in marked), before) == []


def test_a_migration_that_claims_to_work_with_a_release_that_an_earlier_one_excludes_is_found() -> None:
    rows = [("1", "1"), ("2", "1"), ("3", "3"), ("4", "2"), ("5", None), ("6", "7"), ("7", "7")]
    migrations = [SimpleNamespace(revision=revision, works_with=works_with) for revision, works_with in rows]

    assert works_with_faults(migrations) == ["4", "5", "6"]


def unexported(modules: Iterable[Any], exported: Iterable[str]) -> list[str]:
    """Return the tables of *modules* that are missing in the names *exported*."""
    return sorted(
        name
        for module in modules
        for name, value in vars(module).items()
        if (isinstance(value, Table) or ("__tablename__" in getattr(value, "__dict__", {})))
        and name not in exported
    )


def test_every_table_is_exported_for_the_migrations() -> None:
    folder = ROOT / "src" / "domain"
    names = [f"headrace.domain.{path.parent.name}.models" for path in sorted(folder.glob("*/models.py"))]

    assert len(names) >= 8
    assert unexported([importlib.import_module(name) for name in names], tables.__all__) == []


def test_a_forgotten_table_is_found() -> None:
    class Forgotten:
        __tablename__ = "forgotten"

    module = SimpleNamespace(Forgotten=Forgotten, LINKS=Table("links", MetaData()), Job=tables.Job, other=1)

    assert unexported([module], tables.__all__) == ["Forgotten", "LINKS"]


def test_every_exported_name_exists() -> None:
    assert [name for name in tables.__all__ if not hasattr(tables, name)] == []
