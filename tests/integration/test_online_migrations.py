"""Migrations of a database in use: indexes are built while others write, and an interrupted run goes on."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from structlog.testing import capture_logs

from headrace.adapters import concurrent_index, migrations, revisions
from headrace.adapters.concurrent_index import IndexNotBuiltError
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands, SchemaLockedError, upgrade
from headrace.adapters.revisions import MIGRATIONS, newest_revision, phases_of_revisions
from headrace.adapters.schema import SchemaBehindError, find_schema_fault
from support.patience import PATIENCE_SECONDS, until_async

# Indexes of existing tables are built since then.
BEFORE: Final = "0015"
BUILT: Final = {
    "ix_jobs_finished",
    "ix_files_newest",
    "ix_files_owner_newest",
    "ix_jobs_prunable",
    "ix_jobs_pinned",
}
MIGRATE: Final = "import sys; from headrace.adapters.migrations import upgrade; upgrade(sys.argv[1])"
INDEXES: Final = """
SELECT c.relname AS name, i.indisvalid AS is_valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'headrace'::regnamespace AND c.relname = ANY($1)
"""
BUILDERS: Final = """
SELECT pid, wait_event_type AS waits FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND state = 'active'
"""
POLLING: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%'
"""
TURN_OF_OLDER_RELEASES: Final = """
SELECT pg_advisory_xact_lock(1319979726, hashtext(current_setting('search_path')))
"""
FILENODE: Final = "SELECT relfilenode FROM pg_class WHERE relname = 'ix_jobs_finished'"
ADD_USER: Final = """
INSERT INTO users (id, username, is_admin, created_at, updated_at)
VALUES (gen_random_uuid(), 'ada', false, now(), now())
"""


@pytest.fixture
async def url(own_database_url: str) -> str:
    """A database at the revision before the first index that is built while others write."""
    await asyncio.to_thread(AlembicCommands(own_database_url).downgrade, BEFORE)
    return own_database_url


@pytest.fixture
async def watch(url: str) -> AsyncIterator[StatementPool]:
    """Connections that only look."""
    pool = await StatementPool.open(url, size=2)
    yield pool
    await pool.close()


async def revision(pool: StatementPool) -> str:
    return str((await pool.fetch("SELECT version_num FROM alembic_version"))[0]["version_num"])


async def validity(pool: StatementPool) -> dict[str, bool]:
    """Return whether each of the new indexes that exist is valid."""
    return {row["name"]: row["is_valid"] for row in await pool.fetch(INDEXES, list(BUILT))}


async def waiting_builder(pool: StatementPool) -> int:
    """Wait until the build of an index waits for an older transaction, and return the id of its session."""
    pids: list[int] = []

    async def waits() -> bool:
        pids[:] = [row["pid"] for row in await pool.fetch(BUILDERS) if row["waits"] == "Lock"]
        return bool(pids)

    await until_async(waits)
    return pids[0]


@asynccontextmanager
async def older_transaction(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a transaction with a snapshot, for whose end a concurrent build waits."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "headrace"})
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT 1")
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def older(url: str) -> AsyncIterator[asyncpg.Connection]:
    async with older_transaction(url) as connection:
        yield connection


@asynccontextmanager
async def migrating(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process that migrates; it is killed at the end of the block if it has not ended."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, url)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)


async def until_polling(pool: StatementPool) -> None:
    """Wait until a second process asks for its turn."""

    async def polls() -> bool:
        return bool(await pool.fetch(POLLING))

    await until_async(polls)


async def until_blocked(pool: StatementPool, pid: int) -> None:
    async def is_blocked() -> bool:
        (row,) = await pool.fetch("SELECT cardinality(pg_blocking_pids($1)) AS blockers", pid)
        return bool(row["blockers"])

    await until_async(is_blocked)


async def until_gone(pool: StatementPool, pid: int) -> None:
    async def is_gone() -> bool:
        return not await pool.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", pid)

    await until_async(is_gone)


async def status(process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)


async def test_writers_go_on_while_an_index_is_built(
    url: str, watch: StatementPool, older: asyncpg.Connection
) -> None:
    async with migrating(url) as process:
        await waiting_builder(watch)
        await watch.fetch(ADD_USER)
        # It takes the lock of a writer, which conflicts with that of a plain build.
        await watch.fetch("UPDATE jobs SET updated_at = now() WHERE false")
        await older.execute("COMMIT")
        assert await status(process) == 0

    assert await validity(watch) == dict.fromkeys(BUILT, True)
    assert await revision(watch) == newest_revision()


async def test_two_processes_that_migrate_at_once_take_turns(
    url: str, watch: StatementPool, older: asyncpg.Connection
) -> None:
    async with migrating(url) as first, migrating(url) as second:
        await waiting_builder(watch)
        await until_polling(watch)
        still_running = (first.returncode, second.returncode)
        builders = len(await watch.fetch(BUILDERS))
        await older.execute("COMMIT")
        statuses = [await status(first), await status(second)]

    assert (still_running, builders, statuses) == ((None, None), 1, [0, 0])
    assert await validity(watch) == dict.fromkeys(BUILT, True)


async def test_a_build_and_an_older_release_that_waits_for_its_turn_do_not_wait_for_each_other(
    url: str, watch: StatementPool, older: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.5)
    running = asyncio.create_task(asyncio.to_thread(upgrade, url))
    await waiting_builder(watch)
    release = await asyncpg.connect(url, server_settings={"search_path": '"headrace"'})
    try:
        # It waits in a statement, with a snapshot. PostgreSQL ends one of the two; the migration goes on.
        turn = asyncio.create_task(release.execute(TURN_OF_OLDER_RELEASES))
        await until_blocked(watch, release.get_server_pid())
        await older.execute("COMMIT")
        with suppress(asyncpg.DeadlockDetectedError):
            await asyncio.wait_for(turn, PATIENCE_SECONDS)
        await asyncio.wait_for(running, PATIENCE_SECONDS)
    finally:
        await release.close()

    assert await validity(watch) == dict.fromkeys(BUILT, True)
    assert await revision(watch) == newest_revision()


async def test_after_a_kill_the_next_run_drops_the_unfinished_index_and_builds_it(
    url: str, watch: StatementPool, older: asyncpg.Connection
) -> None:
    async with migrating(url) as process:
        builder = await waiting_builder(watch)
        process.send_signal(signal.SIGKILL)
        await status(process)
    await until_gone(watch, builder)
    left = await validity(watch), await revision(watch)
    await older.execute("COMMIT")

    with capture_logs() as logs:
        await asyncio.to_thread(upgrade, url)

    assert left == ({"ix_jobs_finished": False}, BEFORE)
    assert [entry["index"] for entry in logs if entry["event"] == "index_unfinished"] == ["ix_jobs_finished"]
    assert await validity(watch) == dict.fromkeys(BUILT, True)
    assert await revision(watch) == newest_revision()


@pytest.mark.parametrize(("current", "index"), [("0015", "ix_jobs_finished"), ("0017", "ix_jobs_prunable")])
async def test_a_cancelled_build_says_so_and_the_next_run_goes_on(
    url: str, watch: StatementPool, current: str, index: str
) -> None:
    await asyncio.to_thread(AlembicCommands(url).upgrade, current)
    async with older_transaction(url) as older:
        running = asyncio.create_task(asyncio.to_thread(upgrade, url))
        await watch.fetch("SELECT pg_cancel_backend($1)", await waiting_builder(watch))
        with pytest.raises(IndexNotBuiltError, match=f"the index {index} .*canceling statement"):
            await asyncio.wait_for(running, PATIENCE_SECONDS)
        left = (await validity(watch))[index], await revision(watch)
        await older.execute("COMMIT")

    await asyncio.to_thread(upgrade, url)

    assert left == (False, current)
    assert await validity(watch) == dict.fromkeys(BUILT, True)
    assert await revision(watch) == newest_revision()


async def test_a_time_limit_of_the_database_ends_no_migration(url: str, watch: StatementPool) -> None:
    name = url.rpartition("/")[2]
    await watch.fetch(f"ALTER DATABASE {name} SET statement_timeout = '1ms'")

    await asyncio.to_thread(upgrade, url)

    assert await revision(watch) == newest_revision()


async def test_an_index_that_is_there_stays(url: str, watch: StatementPool) -> None:
    await watch.fetch("CREATE INDEX ix_jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL")
    (before,) = await watch.fetch(FILENODE)

    await asyncio.to_thread(upgrade, url)

    assert await watch.fetch(FILENODE) == [before]


async def test_the_log_says_which_index_is_built_for_how_long_and_whom_it_waits_for(
    url: str, watch: StatementPool, older: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_index, "_REPORT_SECONDS", 0.05)
    with capture_logs() as logs:
        running = asyncio.create_task(asyncio.to_thread(upgrade, url))

        async def is_reported() -> bool:
            return any(entry.get("waits_for") == older.get_server_pid() for entry in logs)

        await until_async(is_reported)
        await older.execute("COMMIT")
        await asyncio.wait_for(running, PATIENCE_SECONDS)

    ended = [entry for entry in logs if entry["event"] in ("index_built", "schema_migrated")]
    assert [entry.get("index") or entry["revision"] for entry in ended][:8] == [
        *("ix_jobs_finished", "ix_files_newest", "ix_files_owner_newest", "0016"),
        *("0017", "ix_jobs_prunable", "ix_jobs_pinned", "0018"),
    ]
    assert all(entry["seconds"] >= 0 for entry in ended)


async def test_a_migration_that_waits_for_a_lock_leaves_those_before_it_done(
    url: str, watch: StatementPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(migrations, "_MAX_TRIES", 1)
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.0)
    backup = await asyncpg.connect(url, server_settings={"search_path": "headrace"})
    async with backup.transaction():
        await backup.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        with pytest.raises(SchemaLockedError):
            await asyncio.to_thread(upgrade, url)
        # No lock of a migration that has ended is left, so others do not wait for each other.
        await backup.execute("LOCK TABLE files, users IN ROW EXCLUSIVE MODE NOWAIT")
    await backup.close()
    between, fault = await revision(watch), await find_schema_fault(watch, "0016")
    (mark,) = await watch.fetch("SELECT works_with FROM schema_mark")
    copy_migrations(tmp_path, until=BEFORE)
    monkeypatch.setattr(revisions, "MIGRATIONS", tmp_path)
    phases_of_revisions.cache_clear()
    try:
        fault_of_previous = await find_schema_fault(watch, between)
    finally:
        monkeypatch.undo()
        phases_of_revisions.cache_clear()

    assert (between, mark["works_with"], fault_of_previous) == ("0016", "0010", None)
    assert isinstance(fault, SchemaBehindError)


def copy_migrations(folder: Path, until: str) -> None:
    """Copy the migrations of a release whose newest revision is *until*."""
    (folder / "versions").mkdir()
    for path in (MIGRATIONS / "versions").glob("*.py"):
        if path.stem[:4] <= until:
            (folder / "versions" / path.name).write_text(path.read_text())


async def test_a_downgrade_after_an_interrupted_upgrade_can_be_upgraded_again(
    url: str, watch: StatementPool
) -> None:
    await asyncio.to_thread(AlembicCommands(url).upgrade, "0017")
    async with older_transaction(url) as older:
        running = asyncio.create_task(asyncio.to_thread(upgrade, url))
        await watch.fetch("SELECT pg_cancel_backend($1)", await waiting_builder(watch))
        with pytest.raises(IndexNotBuiltError):
            await asyncio.wait_for(running, PATIENCE_SECONDS)
        await older.execute("COMMIT")

    await asyncio.to_thread(AlembicCommands(url).downgrade, "0014")
    await asyncio.to_thread(upgrade, url)

    assert await validity(watch) == dict.fromkeys(BUILT, True)
    assert await revision(watch) == newest_revision()
