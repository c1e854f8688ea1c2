"""Migrations against a real database."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters import migrations as adapter
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands, upgrade
from headrace.adapters.revisions import MIGRATIONS, newest_revision
from headrace.cli.migrate import describe_revisions
from headrace.domain.base import METADATA
from headrace.domain.database import DatabaseAwayError, DatabaseFullError, DatabaseReadOnlyError
from support.patience import PATIENCE_SECONDS

FILL = """
WITH someone AS (
    INSERT INTO users (id, username, is_admin, created_at, updated_at)
    VALUES (gen_random_uuid(), 'ada', false, now(), now()) RETURNING id
), flow AS (
    INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)
    VALUES (gen_random_uuid(), 'noop', 1, '', '[]', '{}', now(), now()) RETURNING name, version
), job AS (
    INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                      due_order, created_at, updated_at)
    SELECT gen_random_uuid(), someone.id, 'noop', 1, 'queued', '{}', '{}', 'default', 0, now(),
           now(), now(), now()
    FROM someone, flow RETURNING id
)
INSERT INTO job_events (job_id, seq, at, type, body) SELECT id, 1, now(), 'job.queued', '{}' FROM job
"""


def run_in_thread(call: Any, *arguments: Any) -> Any:
    """Run in a thread without an event loop, because Alembic starts its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


async def tables(database: StatementPool) -> set[str]:
    rows = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'headrace'")
    return {row["tablename"] for row in rows}


def test_models_and_migrations_agree(database_url: str) -> None:
    run_in_thread(AlembicCommands(database_url).check, METADATA)


@pytest.mark.parametrize("filled", [False, True])
async def test_migrations_run_down_and_up_again(
    database_url: str, database: StatementPool, filled: bool
) -> None:
    if filled:
        await database.fetch(FILL)

    run_in_thread(AlembicCommands(database_url).downgrade, "base")
    below = await tables(database)
    run_in_thread(upgrade, database_url)

    assert below <= {"alembic_version"}
    assert set(METADATA.tables) <= await tables(database)


def add_migration(folder: Path, monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """Let one more migration with *statements* follow the newest, in a copy of the migrations."""
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", "alembic.ini", "script.py.mako"):
        (folder / name).write_text((MIGRATIONS / name).read_text())
    for version in (MIGRATIONS / "versions").glob("*.py"):
        (folder / "versions" / version.name).write_text(version.read_text())
    calls = "".join(f"    op.execute({statement!r})\n" for statement in statements)
    (folder / "versions" / "9999_bad.py").write_text(
        f"revision, down_revision, branch_labels, depends_on = '9999', {newest_revision()!r}, None, None\n"
        f"from alembic import op\ndef upgrade():\n{calls}def downgrade():\n    pass\n"
    )
    monkeypatch.setattr(adapter, "MIGRATIONS", folder)


async def test_a_failed_migration_is_rolled_back(
    database_url: str, database: StatementPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = "CREATE TABLE half_done (id int)"
    add_migration(tmp_path / "migrations", monkeypatch, create, "SELECT 1 / 0")

    with pytest.raises(Exception, match="division by zero"):
        run_in_thread(AlembicCommands(database_url).upgrade)

    assert "half_done" not in await tables(database)
    revision = await database.fetch("SELECT version_num FROM alembic_version")
    assert revision[0]["version_num"] != "9999"


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (["SELECT pg_terminate_backend(pg_backend_pid())"], DatabaseAwayError),
        (["SET TRANSACTION READ ONLY", "CREATE TABLE half_done (id int)"], DatabaseReadOnlyError),
        (["DO $$ BEGIN RAISE disk_full; END $$"], DatabaseFullError),
    ],
    ids=["session ended", "read-only", "disk full"],
)
def test_a_migration_that_the_server_ends_says_what_is_wrong_with_it(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statements: list[str],
    error: type[Exception],
) -> None:
    add_migration(tmp_path / "migrations", monkeypatch, *statements)

    with pytest.raises(error):
        run_in_thread(upgrade, database_url)


def test_the_history_marks_the_current_revision(database_url: str) -> None:
    lines = run_in_thread(describe_revisions, database_url)
    run_in_thread(AlembicCommands(database_url).downgrade, "0002")
    behind = run_in_thread(describe_revisions, database_url)
    run_in_thread(AlembicCommands(database_url).downgrade, "base")
    empty = run_in_thread(describe_revisions, database_url)

    assert len(lines) == len(list((MIGRATIONS / "versions").glob("*.py")))
    assert [line for line in lines if line.startswith(f"> {newest_revision()}  ")] == lines[:1]
    assert [line[:6] for line in behind if line.startswith(">")] == ["> 0002"]
    assert not any(line.startswith(">") for line in empty)


async def test_two_deployments_can_migrate_at_once(database_url: str, database: StatementPool) -> None:
    run_in_thread(AlembicCommands(database_url).downgrade, "base")

    call = "import sys; from headrace.adapters.migrations import upgrade; upgrade(sys.argv[1])"
    both = [await asyncio.create_subprocess_exec(sys.executable, "-c", call, database_url) for _ in range(2)]
    statuses = [await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) for process in both]

    assert statuses == [0, 0]
    assert set(METADATA.tables) <= await tables(database)


async def test_every_foreign_key_has_an_index(database: StatementPool) -> None:
    rows = await database.fetch("""
        SELECT c.conrelid::regclass::text AS child, c.conname AS name FROM pg_constraint c
        WHERE c.contype = 'f' AND c.conparentid = 0 AND NOT EXISTS (
            SELECT 1 FROM pg_index i WHERE i.indrelid = c.conrelid
              AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
        )
    """)

    assert [(row["child"], row["name"]) for row in rows] == []


async def test_every_constraint_is_named_after_its_kind_and_table(database: StatementPool) -> None:
    rows = await database.fetch("""
        SELECT conrelid::regclass::text AS of, conname AS name FROM pg_constraint
        WHERE contype IN ('c', 'f', 'p', 'u') AND connamespace = 'headrace'::regnamespace
          AND conislocal AND conparentid = 0 AND conrelid <> 'alembic_version'::regclass
          AND conname !~ ('^(ck|fk|pk|uq)_' || conrelid::regclass)
    """)

    assert [(row["of"], row["name"]) for row in rows] == []
