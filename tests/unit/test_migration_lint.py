"""Migrations delete no rows by accident and know all tables."""

import importlib
import re
import runpy
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import MetaData, Table

from headrace.adapters import revisions
from headrace.adapters.revisions import phases_of_revisions, required_revision
from headrace.domain import tables
from support.migration_indexes import blocking_indexes
from support.migration_lint import unmarked_drops
from support.migration_phases import breaking_changes

ROOT = Path(__file__).parents[2]
FIRST_MARKED = "0011"
FIRST_PHASED = "0016"
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


def phase_of(name: str) -> str:
    """Return the phase that the name of a migration's file says; empty if it says none."""
    match = re.fullmatch(r"[0-9]{4}_(pre|post)_[a-z0-9_]+", name)
    return match[1] if match else ""


def phase_faults(path: Path) -> list[str]:
    """Return why a new migration has no phase, or would break the previous release too early."""
    phase, source = phase_of(path.stem), path.read_text()
    if not phase:
        return [f"{path.stem}: its name begins with neither {path.stem[:4]}_pre_ nor {path.stem[:4]}_post_"]
    module = SimpleNamespace(**runpy.run_path(str(path)))
    if phase == "post":
        return []
    works_with = [f"{path.stem}: works_with"] if module.works_with == module.revision else []
    changes = [*breaking_changes(source), *blocking_indexes(source)]
    return [*works_with, *(f"{path.stem}:{change}" for change in changes)]


def test_every_new_migration_runs_beside_the_previous_release_or_after_it() -> None:
    new = [path for path in VERSIONS if path.stem[:4] >= FIRST_PHASED]

    assert [fault for path in new for fault in phase_faults(path)] == []


@pytest.mark.parametrize(
    ("name", "works_with", "upgrade", "faults"),
    [
        ("0016_more", "0010", "pass", ["0016_more: its name begins with neither 0016_pre_ nor 0016_post_"]),
        (
            "0016_preview",
            "0010",
            "pass",
            ["0016_preview: its name begins with neither 0016_pre_ nor 0016_post_"],
        ),
        ("0016_pre_more", "0010", "pass", []),
        ("0016_pre_more", "0016", "pass", ["0016_pre_more: works_with"]),
        ("0016_pre_more", "0010", "op.drop_table('jobs')", ["0016_pre_more:6: drop_table"]),
        ("0016_pre_more", "0010", "op.create_index('i', 'jobs', ['a'])", ["0016_pre_more:6: index of jobs"]),
        ("0016_post_less", "0016", "op.drop_table('jobs')", []),
    ],
)
def test_a_migration_with_a_wrong_phase_is_found(
    name: str, works_with: str, upgrade: str, faults: list[str], tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(f'revision = "0016"\nworks_with = "{works_with}"\n' + migration(upgrade))

    assert phase_faults(path) == faults


@pytest.mark.parametrize(
    ("upgrade", "changes"),
    [
        ("op.drop_table('jobs')", ["4: drop_table"]),
        ("op.drop_index('ix_jobs_due')", ["4: drop_index"]),
        ("op.alter_column('jobs', 'meta', nullable=False)", ["4: alter_column"]),
        ("op.rename_table('a', 'b')", ["4: rename_table"]),
        ("op.create_foreign_key('fk', 'a', 'b', ['c'], ['d'])", ["4: create_foreign_key"]),
        ("op.add_column('a', sa.Column('b', nullable=False))", ["4: add_column that must be given"]),
        ("op.execute('ALTER TABLE jobs ALTER COLUMN meta TYPE json')", ["4: alter column meta type"]),
        ("op.execute('ALTER TABLE jobs ALTER meta SET  NOT NULL')", ["4: set not null"]),
        ("op.execute('ALTER TABLE jobs RENAME TO old')", ["4: rename"]),
        ("op.execute('DROP FUNCTION forget_history')", ["4: drop function"]),
        ("op.execute('ALTER TABLE jobs ADD CONSTRAINT c CHECK (a > 0)')", ["4: add constraint"]),
        ("op.execute('ALTER TABLE jobs ADD CONSTRAINT c CHECK (a > 0) NOT VALID')", []),
        ("op.execute('CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$')", []),
        ("op.add_column('jobs', sa.Column('a', sa.Text()))", []),
        ("op.add_column('jobs', sa.Column('a', nullable=False, server_default=''))", []),
        ("op.create_table('new', sa.Column('a', sa.Text(), nullable=False))", []),
        ("op.create_index('ix_new', 'new', ['a'])", []),
        ("'Nothing is renamed, truncate nothing.'", []),
    ],
)
def test_changes_that_break_the_previous_release_are_found(upgrade: str, changes: list[str]) -> None:
    assert breaking_changes(migration(upgrade)) == changes


NEW = "op.create_table('new', sa.Column('a'))\n    "


@pytest.mark.parametrize(
    ("upgrade", "faults"),
    [
        ("op.create_index('i', 'jobs', ['a'])", ["4: index of jobs"]),
        ("op.create_index('i', table_name='jobs', columns=['a'])", ["4: index of jobs"]),
        ("op.create_index('i', TABLE, ['a'])", ["4: index of ?"]),
        ("op.create_index('i', 'jobs', ['a'], postgresql_concurrently=True)", ["4: index of jobs"]),
        ("op.execute('CREATE UNIQUE INDEX i ON jobs (a)')", ["4: index of jobs"]),
        ("op.execute(f'CREATE INDEX i ON {TABLE} (a)')", ["4: index of ?"]),
        ("op.add_column('jobs', sa.Column('a', sa.Text(), index=True))", ["4: index of jobs"]),
        ("add_columns('jobs', sa.Column('a', sa.Text(), unique=True))", ["4: index of jobs"]),
        (NEW + "op.create_index('i', 'new', ['a'])", []),
        (NEW + "op.execute('CREATE INDEX i ON new (a)')", []),
        ("op.execute('CREATE TABLE new (a int)')\n    op.create_index('i', 'new', ['a'])", []),
        (NEW + "op.create_index('i', 'jobs', ['a'])", ["5: index of jobs"]),
        ("op.add_column('jobs', sa.Column('a', sa.Text()))", []),
        ("build_index('i', 'jobs', 'a')", []),
        ("add_columns('jobs', sa.Column('a'))\n    build_index('i', 'jobs', 'a')\n    " + NEW, []),
        (NEW + "build_index('i', 'jobs', 'a')", ["5: build_index after other changes"]),
        ("op.execute('SELECT 1')\n    add_columns('a', b)", ["5: add_columns after other changes"]),
    ],
)
def test_indexes_that_hold_up_writers_are_found(upgrade: str, faults: list[str]) -> None:
    assert blocking_indexes(migration(upgrade)) == faults


@pytest.mark.parametrize(
    ("names", "required"),
    [
        (["0001_tables", "0002_more"], "0002"),
        (["0001_tables", "0002_pre_more", "0003_post_less"], "0002"),
        (["0001_tables", "0002_post_less", "0003_post_less"], "0001"),
        (["0001_tables", "0002_post_less", "0003_pre_more", "0004_post_less"], "0003"),
    ],
)
def test_a_release_needs_the_newest_revision_that_does_not_wait_for_older_processes(
    names: list[str], required: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "versions").mkdir()
    previous = None
    for name in names:
        parent = "None" if previous is None else f'"{previous}"'
        text = f'revision = "{name[:4]}"\ndown_revision = {parent}\n'
        (tmp_path / "versions" / f"{name}.py").write_text(text)
        previous = name[:4]
    monkeypatch.setattr(revisions, "MIGRATIONS", tmp_path)
    phases_of_revisions.cache_clear()
    try:
        assert required_revision() == required
        assert next(iter(phases_of_revisions())) == names[-1][:4]
    finally:
        phases_of_revisions.cache_clear()


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
