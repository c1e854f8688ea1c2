"""Backups and restores of a service: what is in an archive, what is refused, and what a failure leaves."""

import asyncio
import re
import signal
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from faults import processes
from headrace.adapters.backup.archive import ArchiveExistsError, ArchiveNotWrittenError
from headrace.adapters.backup.archive_reader import ArchiveDamagedError, opened_archive
from headrace.adapters.backup.restoring import (
    DatabaseNotEmptyError,
    DatabaseRestore,
    SchemaNotInDumpError,
    ServiceRunsError,
)
from headrace.adapters.backup.snapshot import (
    SESSION,
    AnotherBackupError,
    NothingToBackUpError,
    connected,
    open_snapshot,
)
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.schema import UnfinishedRestoreError, require_schema
from headrace.adapters.servers import Servers, client_tools
from headrace.adapters.servers.client_tools import ClientTool, RunningTool, ToolError, find_tool
from headrace.cli import restore
from headrace.cli.backup import Backup, write_backup
from headrace.cli.doctor_files import check_files
from headrace.cli.doctor_servers import check_database
from headrace.cli.migrate import bring_up_to_date
from headrace.cli.restore import (
    NewerArchiveError,
    OtherSchemaError,
    Restored,
    check_archive,
    restore_backup,
)
from headrace.domain.database import DatabaseAwayError
from headrace.settings import Settings
from headrace.workers.maintenance.blob_remover import BlobRemover
from support.blobs import make_old, stored
from support.harness import Api, new_database
from support.patience import PATIENCE_SECONDS, until, until_async

CONTENT = b"content " * 1000
EVERYTHING = """
SELECT (SELECT json_agg(j ORDER BY id) FROM jobs j)::text AS jobs,
    (SELECT json_agg(c ORDER BY job_id, seq) FROM job_changes c)::text AS changes,
    (SELECT json_agg(f ORDER BY id) FROM files f)::text AS files,
    (SELECT json_agg(u ORDER BY id) FROM users u)::text AS users
"""


async def back_up(settings: Settings, target: Path, **options: Any) -> Backup:
    return await asyncio.to_thread(write_backup, settings, settings.data_dir, target, **options)


async def put_back(settings: Settings, path: Path, **options: Any) -> Restored:
    return await asyncio.to_thread(restore_backup, settings, settings.data_dir, path, **options)


async def upload(api: Api, content: bytes = CONTENT) -> UUID:
    response = await api.http.post("/api/v1/files", files={"file": ("a.txt", content)})
    return UUID(response.json()["id"])


async def run(*command: str | Path, cwd: Path | None = None) -> tuple[int | None, str]:
    """Run a program. Return its exit status and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, output.decode()


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


async def everything(url: str) -> list[str]:
    """Return all rows that a backup must bring back, as text."""
    pool = await StatementPool.open(url, size=1)
    try:
        (row,) = await pool.fetch(EVERYTHING)
        return [row[name] for name in ("jobs", "changes", "files", "users")]
    finally:
        await pool.close()


async def analyzed(url: str) -> set[str]:
    """Return the tables of which PostgreSQL has statistics."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'headrace'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def schema_text(url: str, written: Backup) -> str:
    """Return the schema as pg_dump writes it, with its functions, triggers and rights."""
    tool = find_tool("pg_dump", int(written.manifest.pg_dump))
    status, text = await run(tool.path, "--schema-only", "--schema=headrace", url)
    assert status == 0, text
    # The key of a guard against hostile dumps differs from run to run, and the casts of a constraint are
    # spelled in another way once they were read back.
    lines = (line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
    return re.sub(r"::(character varying|text)(\[\])?|[()]", "", "\n".join(lines))


@pytest.fixture
async def target(servers: Servers, settings: Settings, tmp_path: Path) -> AsyncIterator[Settings]:
    """Settings of a new machine: an empty database and no data folder."""
    async with new_database(str(servers.database_url), "template0") as url:
        yield msgspec.structs.replace(settings, database_url=url, data_dir=tmp_path / "new")


@pytest.fixture
def filled(settings: Settings, own_database_url: str, tmp_path: Path) -> Settings:
    """Settings of another machine, whose database has the tables of a service."""
    return msgspec.structs.replace(settings, database_url=own_database_url, data_dir=tmp_path / "new")


@pytest.fixture
async def written(service: Api, settings: Settings, tmp_path: Path) -> Backup:
    """A backup of a service with two files and a finished job."""
    await upload(service)
    await upload(service, b"")
    await service.finish((await service.submit("ticks", params={"count": 2, "interval_ms": 1}))["id"])
    return await back_up(settings, tmp_path)


async def test_a_restore_brings_back_rows_files_schema_and_rights(
    written: Backup, settings: Settings, target: Settings
) -> None:
    restored = await put_back(target, written.path)

    assert await everything(str(target.database_url)) == await everything(str(settings.database_url))
    assert await schema_text(str(target.database_url), written) == await schema_text(
        str(settings.database_url), written
    )
    assert {path.read_bytes() for path in stored(target)} == {CONTENT, b""}
    assert [(finding.ok, finding.text) for finding in await check_files(target)] == [
        (True, f"2 in {target.blob_dir}, none without its bytes")
    ]
    assert (restored.manifest, restored.is_behind) == (written.manifest, False)
    assert await analyzed(str(target.database_url)) >= {"jobs", "files", "step_runs", "users"}
    assert (written.manifest.jobs, written.manifest.files, written.manifest.file_bytes) == (
        1,
        2,
        len(CONTENT),
    )
    assert written.path.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in stored(target)] == [0, 0]


async def test_an_archive_can_be_read_by_hand(written: Backup, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with tarfile.open(written.path) as archive:
        archive.extractall(folder, filter="data")

    checked, sums = await run("sha256sum", "-c", "SHA256SUMS", cwd=folder)
    tool = find_tool("pg_restore", int(written.manifest.pg_dump))
    _, listed = await run(tool.path, "--list", folder / "database.dump")

    assert checked == 0, sums
    assert "TABLE DATA headrace jobs" in listed


async def test_a_restore_ends_sessions_that_were_open_and_keeps_keys(
    written: Backup,
    service: Api,
    settings: Settings,
    target: Settings,
    tmp_path: Path,
    database: StatementPool,
) -> None:
    await service.http.post("/api/v1/api-keys", json={"name": "nightly", "scopes": ["jobs:read"]})
    await database.fetch(
        "INSERT INTO login_sessions (id, user_id, generation, expires_at, created_at, updated_at)"
        " SELECT gen_random_uuid(), id, 1, now() + interval '1 day', now(), now() FROM users LIMIT 1"
    )
    later = await back_up(settings, tmp_path / "later.tar")

    await put_back(target, later.path)

    pool = await StatementPool.open(str(target.database_url), size=1)
    try:
        sessions = await pool.fetch("SELECT revoked_at IS NULL AS is_open FROM login_sessions")
        keys = await pool.fetch("SELECT name FROM api_keys")
        workers = await pool.fetch("SELECT id FROM workers")
    finally:
        await pool.close()
    assert [row["is_open"] for row in sessions] == [False]
    assert [row["name"] for row in keys] == ["nightly"]
    assert list(workers) == []


async def test_files_that_are_deleted_meanwhile_keep_their_bytes_until_the_backup_ends(
    api: Api, settings: Settings, database: StatementPool
) -> None:
    file_id = await upload(api)
    make_old(settings)
    remover = BlobRemover(database, BlobStore(settings.blob_dir, max_bytes=2**20))

    async with open_snapshot(settings.database) as snapshot:
        await api.http.delete(f"/api/v1/files/{file_id}")
        during = await remover.remove_due()
        rows = [row.id async for row in snapshot.files()]
        kept = stored(settings)
    after = await remover.remove_due()

    assert (rows, len(kept), during) == ([file_id], 1, 0)
    assert (after, stored(settings)) == (1, [])


async def test_a_second_backup_waits_for_the_first_and_is_refused(
    api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.adapters.backup.snapshot._LOCK_MS", 10)

    async with open_snapshot(settings.database):
        with pytest.raises(AnotherBackupError):
            async with open_snapshot(settings.database):
                pass


async def test_bytes_that_the_store_has_lost_are_named_and_the_others_are_kept(
    service: Api, settings: Settings, target: Settings, tmp_path: Path
) -> None:
    lost, altered, _ = await upload(service), await upload(service, b"12345"), await upload(service, b"fine")
    blobs = {path.name.partition(".")[0]: path for path in stored(settings)}
    blobs[str(lost)].unlink()
    blobs[str(altered)].write_bytes(b"54321")

    written = await back_up(settings, tmp_path / "some.tar")
    await put_back(target, written.path)

    assert sorted(written.damaged) == sorted([str(lost), str(altered)])
    assert (written.damaged_count, written.manifest.missing_files) == (2, 1)
    assert {path.read_bytes() for path in stored(target)} == {b"54321", b"fine"}


async def test_without_files_only_the_database_is_backed_up(
    service: Api, settings: Settings, target: Settings, tmp_path: Path
) -> None:
    await upload(service)

    written = await back_up(settings, tmp_path / "rows.tar", has_files=False)
    await put_back(target, written.path)

    assert (written.manifest.files, written.manifest.has_files) == (1, False)
    assert stored(target) == []
    assert await everything(str(target.database_url)) == await everything(str(settings.database_url))


@pytest.mark.parametrize("place", ["header", "dump", "file", "sums", "cut"])
async def test_an_archive_that_is_cut_or_altered_is_refused_and_changes_nothing(
    written: Backup, target: Settings, tmp_path: Path, place: str
) -> None:
    whole = written.path.read_bytes()
    with tarfile.open(written.path) as archive:
        members = {member.name: member for member in archive}
    blob = next(member for name, member in members.items() if name.startswith("files/") and member.size)
    offsets = {
        "header": members["manifest.json"].offset + 10,
        "dump": members["database.dump"].offset_data + 2000,
        "file": blob.offset_data + 5,
        "sums": members["SHA256SUMS"].offset_data + 3,
    }
    if place == "cut":
        broken = whole[: members["SHA256SUMS"].offset]
    else:
        position = offsets[place]
        broken = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(broken)

    with pytest.raises(ArchiveDamagedError):
        await put_back(target, damaged)

    with pytest.raises(NothingToBackUpError):
        await back_up(target, tmp_path / "empty.tar")
    assert not target.data_dir.exists()


@pytest.mark.parametrize("part", [0.001, 0.3, 0.7, 0.999])
async def test_an_archive_that_is_cut_anywhere_is_refused(
    written: Backup, tmp_path: Path, part: float
) -> None:
    whole = written.path.read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int((len(whole) - 2048) * part)])

    with pytest.raises(ArchiveDamagedError, match="is not a whole backup"):
        check_archive(tmp_path / "cut.tar")


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    text, tar = tmp_path / "text", tmp_path / "other.tar"
    text.write_bytes(b"x" * 5000)
    with tarfile.open(tar, "w") as archive:
        archive.add(text, "text")

    for path in (text, tar, tmp_path / "absent", tmp_path):
        with pytest.raises(ArchiveDamagedError):
            check_archive(path)


async def test_an_archive_of_a_newer_release_is_refused(
    written: Backup, target: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "known_revisions", lambda: ("0002", "0001"))

    with pytest.raises(NewerArchiveError, match=f"revision {written.manifest.revision}.* install headrace"):
        await put_back(target, written.path)


async def test_an_archive_of_an_older_release_is_restored_and_says_that_it_must_be_migrated(
    written: Backup, settings: Settings, target: Settings, tmp_path: Path, own_database_url: str
) -> None:
    older = msgspec.structs.replace(settings, database_url=own_database_url)
    await asyncio.to_thread(AlembicCommands(own_database_url).downgrade, "0012")

    restored = await put_back(target, (await back_up(older, tmp_path / "older.tar")).path)

    assert restored.is_behind


async def test_a_database_with_tables_is_replaced_only_if_that_is_said(
    written: Backup, settings: Settings, filled: Settings, own_database_url: str
) -> None:
    with pytest.raises(DatabaseNotEmptyError, match="--replace"):
        await put_back(filled, written.path)
    refused = await everything(own_database_url)
    await put_back(filled, written.path, replaces=True)

    assert refused[0] is None
    assert await everything(own_database_url) == await everything(str(settings.database_url))
    pool = await asyncpg.connect(own_database_url)
    try:
        schemas = await pool.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'headrace%'")
    finally:
        await pool.close()
    assert [row["nspname"] for row in schemas] == ["headrace"]


async def test_a_restore_that_fails_leaves_the_database_as_it_was(
    written: Backup,
    filled: Settings,
    own_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await schema_text(own_database_url, written)
    monkeypatch.setattr("headrace.adapters.backup.restoring._AFTER", ("SELECT 1 / 0",))

    with pytest.raises(asyncpg.DivisionByZeroError):
        await put_back(filled, written.path, replaces=True)

    assert await schema_text(own_database_url, written) == before


@pytest.mark.parametrize("exists", [False, True], ids=["absent", "without tables"])
async def test_a_restore_into_an_empty_database_that_fails_leaves_it_empty(
    written: Backup, target: Settings, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    async def objects() -> list[str]:
        rows = await connection.fetch(
            "SELECT (pg_identify_object(classid, objid, 0)).identity AS name FROM pg_depend"
            " WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace('headrace')"
        )
        return [row["name"] for row in rows]

    connection = await asyncpg.connect(str(target.database_url))
    try:
        if exists:
            await connection.execute("CREATE SCHEMA headrace")
            await connection.execute("CREATE FUNCTION headrace.own() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        with monkeypatch.context() as patched:
            patched.setattr("headrace.adapters.backup.restoring._AFTER", ("SELECT 1 / 0",))
            with pytest.raises(asyncpg.DivisionByZeroError):
                await put_back(target, written.path)
        left = await objects()
        schema = await connection.fetchval("SELECT to_regnamespace('headrace') IS NOT NULL")
    finally:
        await connection.close()
    await put_back(target, written.path)

    assert (schema, left) == (exists, ["headrace.own()"] if exists else [])


async def test_a_session_of_a_backup_may_be_idle_as_long_as_it_takes(target: Settings) -> None:
    connection = await asyncpg.connect(str(target.database_url))
    try:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '1h'")
        address = msgspec.structs.replace(target.database, schema=None)
        async with connected(PostgresConnector(address, SESSION, answer_seconds=None)) as session:
            limit = await session.fetchval("SHOW idle_session_timeout")
    finally:
        await connection.close()

    assert limit == "0"


async def test_a_restore_that_loses_its_connection_leaves_the_database_as_it_was(
    written: Backup,
    filled: Settings,
    own_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await schema_text(own_database_url, written)
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    monkeypatch.setattr("headrace.adapters.backup.restoring._AFTER", (end,))

    with pytest.raises(DatabaseAwayError):
        await put_back(filled, written.path, replaces=True)

    assert await schema_text(own_database_url, written) == before


async def test_a_restore_that_is_interrupted_leaves_the_database_as_it_was(
    written: Backup,
    filled: Settings,
    own_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C cancels the task, here while pg_restore waits for the rest of the dump."""
    before = await schema_text(own_database_url, written)
    is_fed = asyncio.Event()

    async def feed_half(running: RunningTool, chunks: Iterator[bytes]) -> None:
        running._input.write(next(chunks)[:20_000])
        await running._input.drain()
        is_fed.set()
        await asyncio.sleep(PATIENCE_SECONDS)

    monkeypatch.setattr(RunningTool, "feed", feed_half)
    with opened_archive(written.path) as archive:
        restoring = asyncio.create_task(
            restore._restore(filled, filled.database, archive, written.manifest, replaces=True)
        )
        await asyncio.wait_for(is_fed.wait(), PATIENCE_SECONDS)
        restoring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restoring

    assert await schema_text(own_database_url, written) == before


async def old_schemas(url: str) -> int:
    """Return how many schemas hold the tables from before a restore."""
    connection = await asyncpg.connect(url)
    try:
        old = "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^headrace_[0-9]{14}$'"
        return int(await connection.fetchval(old))
    finally:
        await connection.close()


class KilledError(Exception):
    """Stands for a `kill -9`, after which nothing is taken back."""


@pytest.mark.parametrize("moment", ["before pg_restore", "after pg_restore"])
async def test_a_restore_that_was_killed_leaves_a_schema_that_nothing_uses_until_it_is_restored_again(
    written: Backup,
    settings: Settings,
    filled: Settings,
    tmp_path: Path,
    own_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    async def stop(*_: Any) -> None:
        raise KilledError

    async def undo_nothing(*_: Any) -> None:
        pass

    with monkeypatch.context() as patched:
        if moment == "before pg_restore":
            patched.setattr(RunningTool, "feed", stop)
        else:
            patched.setattr(DatabaseRestore, "_finish", stop)
        patched.setattr(DatabaseRestore, "_undo", undo_nothing)
        for _ in range(2):
            with pytest.raises(KilledError):
                await put_back(filled, written.path, replaces=True)

    with pytest.raises(UnfinishedRestoreError):
        await asyncio.to_thread(bring_up_to_date, filled.database)
    with pytest.raises(UnfinishedRestoreError):
        await back_up(filled, tmp_path / "unfinished.tar")
    pool = await StatementPool.open(own_database_url, size=1)
    try:
        with pytest.raises(UnfinishedRestoreError, match="run again: headrace restore --replace"):
            await require_schema(pool)
        tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'headrace'")
    finally:
        await pool.close()
    findings = [finding.text for finding in await check_database(filled) if not finding.ok]
    await put_back(filled, written.path, replaces=True)

    assert ("jobs" in {row["tablename"] for row in tables}) == (moment == "after pg_restore")
    assert findings == [f"schema headrace: {UnfinishedRestoreError()}"]
    assert await old_schemas(own_database_url) == 1
    assert await everything(own_database_url) == await everything(str(settings.database_url))
    assert await asyncio.to_thread(bring_up_to_date, filled.database)


async def test_a_dump_without_the_schema_of_the_manifest_changes_nothing(
    written: Backup, target: Settings
) -> None:
    other = msgspec.structs.replace(written.manifest, schema="other")

    with (
        opened_archive(written.path) as archive,
        pytest.raises(SchemaNotInDumpError, match="does not hold the schema other"),
    ):
        await restore._restore(target, target.database, archive, other, replaces=False)

    connection = await asyncpg.connect(str(target.database_url))
    try:
        assert await connection.fetchval("SELECT to_regnamespace('other') IS NULL")
    finally:
        await connection.close()


async def test_a_backup_whose_session_is_ended_says_so(api: Api, settings: Settings) -> None:
    async def end_session() -> None:
        async with open_snapshot(settings.database) as snapshot:
            await database.execute("SELECT pg_terminate_backend($1)", snapshot._connection.get_server_pid())
            await until(snapshot._connection.is_closed)
            async for _ in snapshot.files():
                pass

    database = await asyncpg.connect(str(settings.database_url))
    try:
        with pytest.raises(DatabaseAwayError, match="the connection was ended"):
            await end_session()
    finally:
        await database.close()


async def test_a_restore_below_a_running_service_is_refused(written: Backup, settings: Settings) -> None:
    with pytest.raises(ServiceRunsError, match="stop its API and workers first"):
        await put_back(settings, written.path, replaces=True)


async def test_leftovers_of_killed_commands_do_not_hide_a_running_service(
    written: Backup, settings: Settings
) -> None:
    connection = await asyncpg.connect(str(settings.database_url))
    try:
        for name in ("headrace_check_0123456789ab", "headrace_20270131080000"):
            await connection.execute(f"CREATE SCHEMA {name} CREATE TABLE schema_mark (id int)")
        with pytest.raises(ServiceRunsError, match="stop its API and workers first"):
            await put_back(settings, written.path, replaces=True)
    finally:
        await connection.execute("DROP SCHEMA headrace_check_0123456789ab, headrace_20270131080000 CASCADE")
        await connection.close()


async def test_the_schema_of_the_setting_must_be_that_of_the_archive(
    written: Backup, target: Settings
) -> None:
    other = msgspec.structs.replace(target, database_schema="jobs")

    with pytest.raises(OtherSchemaError, match="HEADRACE_DATABASE_SCHEMA=headrace"):
        await put_back(other, written.path)


async def test_a_schema_of_its_own_is_backed_up_and_restored(
    settings: Settings, target: Settings, tmp_path: Path
) -> None:
    name = "My-Jobs$"
    own = msgspec.structs.replace(target, database_schema=name)
    await asyncio.to_thread(AlembicCommands(own.database).upgrade)

    written = await back_up(own, tmp_path / "own.tar")
    with pytest.raises(DatabaseNotEmptyError, match="My-Jobs"):
        await put_back(own, written.path)
    await put_back(own, written.path, replaces=True)

    assert (written.manifest.schema, written.manifest.jobs) == (name, 0)


async def test_a_backup_replaces_no_file_and_says_why_it_cannot_be_written(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "taken.tar").touch()

    with pytest.raises(ArchiveExistsError, match="choose another name"):
        await back_up(settings, tmp_path / "taken.tar")
    with pytest.raises(ArchiveNotWrittenError, match="no such file or directory"):
        await back_up(settings, tmp_path / "absent" / "backup.tar")


async def test_a_pg_dump_that_is_too_old_is_named_with_what_to_install(
    api: Api, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ClientTool("pg_dump", Path("/usr/bin/pg_dump"), 9)
    monkeypatch.setattr(client_tools, "_installed", lambda name: [old])

    with pytest.raises(ToolError, match=r"/usr/bin/pg_dump is of version 9.*postgresql-client-\d+"):
        await back_up(settings, tmp_path / "backup.tar")

    assert [path for path in files_in(tmp_path) if path.suffix == ".part"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_in_a_backup_leaves_nothing(
    api: Api, settings: Settings, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals
) -> None:
    """pg_dump waits for a table that the test has locked, so the signal comes in the middle."""
    folder = tmp_path_factory.mktemp("backups")
    connection = await asyncpg.connect(str(settings.database_url))
    try:
        async with connection.transaction(), processes.running(settings, "backup", str(folder)) as running:
            await connection.execute("LOCK TABLE headrace.presets IN ACCESS EXCLUSIVE MODE")

            async def waits_for_a_lock() -> bool:
                return bool(
                    await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
                )

            await until_async(waits_for_a_lock, lambda: running.output)
            assert files_in(folder) != []
            tool = running.child()
            running.send(number)
            status = await running.wait()
            await until(lambda: not tool.is_alive())
    finally:
        await connection.close(timeout=PATIENCE_SECONDS)

    assert (status, files_in(folder)) == (130, [])


async def test_the_password_is_on_no_command_line(
    api: Api, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Any, ...]] = []
    start = asyncio.create_subprocess_exec

    async def record(*command: Any, **options: Any) -> Any:
        started.append((command, options["env"]))
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", record)
    password = str(settings.database.password)
    await back_up(settings, tmp_path / "backup.tar")

    ((command, environment),) = started
    assert password
    assert password not in " ".join(map(str, command))
    assert environment["PGPASSWORD"] == password
    assert [name for name in environment if name.startswith("HEADRACE_")] == []


async def test_the_commands_say_what_they_did_and_what_was_missing(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    lost = await upload(api)
    await upload(api)
    (path,) = settings.blob_dir.rglob(f"{lost}.*")
    path.unlink()
    archive = tmp_path / "backup.tar"

    async with processes.running(settings, "backup", str(archive)) as backup:
        status = await backup.wait()
    async with processes.running(settings, "restore", "--check", str(archive)) as checked:
        check_status = await checked.wait()
    async with processes.running(settings, "restore", "--check", "--json", str(archive)) as as_json:
        await as_json.wait()
    async with processes.running(settings, "restore", str(archive)) as refused:
        refused_status = await refused.wait()

    assert (status, check_status, refused_status) == (1, 0, 1)
    assert backup.output.splitlines() == [
        f"backed up 0 jobs and 2 files (8.0 kB) to {archive}",
        f"headrace: the store had lost or altered the bytes of 1 file: {lost}; see: headrace doctor --files",
    ]
    assert checked.output.startswith(f"{archive} is whole: 0 jobs and 2 files (8.0 kB), made at ")
    manifest = msgspec.json.decode(as_json.output)
    assert (manifest["files"], manifest["missing_files"]) == (2, 1)
    assert "has tables already" in refused.output
