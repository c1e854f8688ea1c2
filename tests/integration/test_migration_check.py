"""`headrace migrate --check`, and migrations that wait until older processes have ended."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner

from headrace.adapters import migration_locks, migrations, revisions
from headrace.adapters.database import StatementPool
from headrace.adapters.migration_locks import find_locks
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.revisions import MIGRATIONS, known_revisions, newest_revision, phases_of_revisions
from headrace.adapters.schema import find_schema_fault
from headrace.cli.doctor_servers import check_database
from headrace.cli.main import cli
from headrace.cli.migrate import PostMigrationError, bring_up_to_date
from headrace.cli.migrate_check import check_migrations, describe_report
from headrace.domain.database import DatabaseMisconfiguredError
from headrace.settings import Settings

FILE = """
revision, down_revision, branch_labels, depends_on = "{revision}", "{parent}", None, None
revision = "{revision}"
down_revision = "{parent}"
works_with = "{works_with}"
from alembic import op


def upgrade():
    op.execute({statement!r})


def downgrade():
    pass
"""


async def run_in_thread(call: Any, *arguments: Any, **options: Any) -> Any:
    """Run in a thread without an event loop, because Alembic starts its own."""
    return await asyncio.to_thread(lambda: call(*arguments, **options))


def after(revision: str) -> tuple[str, ...]:
    """Return the revisions after one, the newest first."""
    return known_revisions()[: known_revisions().index(revision)]


async def revision_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT version_num FROM headrace.alembic_version"))
    finally:
        await connection.close()


@pytest.fixture
def more_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Migrations of a release that adds a column first and drops one when older processes have ended."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", "alembic.ini", "script.py.mako"):
        (folder / name).write_text((MIGRATIONS / name).read_text())
    for path in (MIGRATIONS / "versions").glob("*.py"):
        (folder / "versions" / path.name).write_text(path.read_text())
    newest = newest_revision()
    steps = [
        ("9001", newest, "0010", "9001_pre_more", "ALTER TABLE jobs ADD COLUMN more integer"),
        ("9002", "9001", "9001", "9002_post_less", "ALTER TABLE jobs DROP COLUMN more"),
    ]
    for revision, parent, works_with, name, statement in steps:
        text = FILE.format(revision=revision, parent=parent, works_with=works_with, statement=statement)
        (folder / "versions" / f"{name}.py").write_text(text)
    for module in (migrations, revisions):
        monkeypatch.setattr(module, "MIGRATIONS", folder)
    phases_of_revisions.cache_clear()
    yield [newest, "9001", "9002"]
    phases_of_revisions.cache_clear()


@pytest.fixture
async def alone(own_database_url: str) -> str:
    """The URL of a migrated database to which nothing else is connected."""
    return own_database_url


async def test_the_locks_of_the_real_revisions_are_what_postgresql_says(alone: str) -> None:
    oldest_first = list(reversed(known_revisions()))

    locks = await run_in_thread(find_locks, parse_postgres_url(alone), oldest_first[0], oldest_first[1:])

    shown = {
        revision: {
            lock.table: (lock.mode, "rewrites" * lock.rewrites or "reads all" * lock.reads_all)
            for lock in each
        }
        for revision, each in locks.items()
    }
    assert list(shown) == oldest_first[1:]
    assert shown["0003"] == {"jobs": ("SHARE", "reads all")}
    assert shown["0007"]["files"] == ("ACCESS EXCLUSIVE", "rewrites")
    assert shown["0007"]["step_runs"] == ("ACCESS EXCLUSIVE", "rewrites")
    assert shown["0009"] == {}
    assert shown["0010"] == {"job_events": ("ACCESS EXCLUSIVE", "")}
    assert shown["0011"] == {"idempotency_keys": ("ACCESS EXCLUSIVE", "")}
    assert shown["0012"] == {
        "jobs": ("SHARE UPDATE EXCLUSIVE", ""),
        "step_runs": ("SHARE UPDATE EXCLUSIVE", ""),
    }
    assert shown["0014"]["files"] == ("ACCESS EXCLUSIVE", "reads all")


async def test_an_index_of_a_table_in_use_is_no_lock_for_writers(alone: str) -> None:
    locks = await run_in_thread(find_locks, parse_postgres_url(alone), "0015", ["0016", "0017", "0018"])

    rows = {name: [(lock.table, lock.mode, lock.index) for lock in each] for name, each in locks.items()}
    weak = "SHARE UPDATE EXCLUSIVE"
    assert rows["0016"] == [
        ("jobs", weak, None),
        ("jobs", weak, "ix_jobs_finished"),
        ("files", weak, "ix_files_newest"),
        ("files", weak, "ix_files_owner_newest"),
    ]
    assert rows["0017"] == [("jobs", "ACCESS EXCLUSIVE", None)]
    assert ("jobs", "ACCESS EXCLUSIVE", None) in rows["0018"]
    assert rows["0018"][-2:] == [("jobs", weak, "ix_jobs_prunable"), ("jobs", weak, "ix_jobs_pinned")]
    # The columns are added for a moment, and only the indexes read the rows.
    assert [lock.index for each in locks.values() for lock in each if lock.reads_all or lock.rewrites] == [
        *(
            "ix_jobs_finished",
            "ix_files_newest",
            "ix_files_owner_newest",
            "ix_jobs_prunable",
            "ix_jobs_pinned",
        )
    ]


async def test_a_check_changes_nothing_and_says_what_would_wait(alone: str) -> None:
    await run_in_thread(AlembicCommands(alone).downgrade, "0011")

    report = await run_in_thread(check_migrations, parse_postgres_url(alone))

    lines = list(describe_report(report))
    assert lines[0] == f"{len(report.pending)} to run, from revision 0011 to {newest_revision()}"
    assert [migration.revision for migration in report.pending] == [*reversed(after("0011"))]
    assert "0013  pre   Results that are stored once" in lines
    jobs = next(line.split() for line in lines if "ACCESS EXCLUSIVE" in line)
    assert jobs == ["jobs", "ACCESS", "EXCLUSIVE", "reads", "and", "writes", "wait", "for", "a", "moment"]
    assert [line.split(maxsplit=4)[4] for line in lines if "ix_jobs_finished" in line] == [
        "reads and writes go on while the index ix_jobs_finished is built"
    ]
    assert await revision_of(alone) == "0011"
    connection = await asyncpg.connect(alone)
    try:
        schemas = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'headrace%'")
    finally:
        await connection.close()
    assert [row["nspname"] for row in schemas] == ["headrace"]


async def test_the_exit_status_tells_whether_something_is_to_do(
    alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATABASE_URL", alone)

    done = await run_in_thread(CliRunner().invoke, cli, ["migrate", "--check"])
    await run_in_thread(AlembicCommands(alone).downgrade, "0014")
    pending = await run_in_thread(CliRunner().invoke, cli, ["migrate", "--check", "--json"])
    await run_in_thread(AlembicCommands(alone).downgrade, "base")
    empty = await run_in_thread(CliRunner().invoke, cli, ["migrate", "--check"])

    assert (done.exit_code, done.output) == (
        0,
        f"nothing to do: the schema is at revision {newest_revision()}\n",
    )
    assert pending.exit_code == 3
    report = msgspec.json.decode(pending.output)
    assert [each["revision"] for each in report["pending"]] == [*reversed(after("0014"))]
    assert report["pending"][0]["phase"] == "pre"
    assert report["pending"][0]["locks"] == [
        {"table": "users", "mode": "SHARE ROW EXCLUSIVE", "rewrites": False, "reads_all": False}
    ]
    assert empty.exit_code == 3
    assert f"{len(known_revisions())} to run, from revision none" in empty.output


async def test_without_the_right_to_make_a_scratch_schema_the_locks_are_unknown(
    alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_in_thread(AlembicCommands(alone).downgrade, "0014")

    def refuse(*_: Any) -> None:
        raise DatabaseMisconfiguredError("the role may not create a schema", "missing rights")

    monkeypatch.setattr("headrace.cli.migrate_check.find_locks", refuse)
    report = await run_in_thread(check_migrations, parse_postgres_url(alone))

    assert {migration.locks for migration in report.pending} == {None}
    assert "its locks are unknown" in "\n".join(describe_report(report))


async def test_a_failed_check_leaves_no_scratch_schema(alone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(migration_locks.LockProbe):
        def end(self, connection: Any) -> None:
            raise RuntimeError(f"broken: {connection}")

    monkeypatch.setattr(migration_locks, "LockProbe", Broken)
    with pytest.raises(RuntimeError, match="broken"):
        await run_in_thread(find_locks, parse_postgres_url(alone), "0014", ["0015"])

    connection = await asyncpg.connect(alone)
    try:
        count = await connection.fetchval(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'headrace_c%'"
        )
    finally:
        await connection.close()
    assert count == 0


async def test_a_post_migration_waits_while_processes_are_connected(
    alone: str, more_migrations: list[str]
) -> None:
    process = await StatementPool.open(alone, size=1)
    try:
        await process.fetch("SELECT 1")
        waits = await run_in_thread(bring_up_to_date, alone)
        between = await revision_of(alone)
        fault = await find_schema_fault(process, between)
        again = await run_in_thread(bring_up_to_date, alone)
        report = await run_in_thread(check_migrations, parse_postgres_url(alone))
        notes = [each.text for each in await check_database(Settings(database_url=alone)) if each.is_note]
    finally:
        await process.close()

    alone_then = await run_in_thread(bring_up_to_date, alone)

    assert (waits.waiting, again.waiting, between, fault) == (["9002"], ["9002"], "9001", None)
    assert [(migration.revision, migration.phase) for migration in report.pending] == [("9002", "post")]
    assert (alone_then.waiting, await revision_of(alone)) == ([], "9002")
    assert notes == ["revision 9002 waits until older processes have ended: headrace migrate --post"]


async def test_a_post_migration_runs_beside_new_processes_if_the_operator_says_so(
    alone: str, more_migrations: list[str]
) -> None:
    process = await StatementPool.open(alone, size=1)
    try:
        await process.fetch("SELECT 1")
        await run_in_thread(bring_up_to_date, alone, is_post=True)
    finally:
        await process.close()

    assert await revision_of(alone) == "9002"


async def test_a_release_that_needs_a_waiting_migration_says_what_to_stop(
    alone: str, more_migrations: list[str]
) -> None:
    folder = revisions.MIGRATIONS / "versions"
    text = FILE.format(revision="9003", parent="9002", works_with="9001", statement="SELECT 1")
    (folder / "9003_pre_later.py").write_text(text)
    phases_of_revisions.cache_clear()
    process = await StatementPool.open(alone, size=1)
    try:
        await process.fetch("SELECT 1")
        with pytest.raises(PostMigrationError, match=r"revision 9002 would break .* migrate --post"):
            await run_in_thread(bring_up_to_date, alone)
    finally:
        await process.close()

    assert await revision_of(alone) == "9001"
