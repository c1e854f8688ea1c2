"""A database of the previous release with rows: migrate it, use it, and downgrade it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from headrace.adapters import migrations
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands, upgrade
from headrace.adapters.revisions import newest_revision
from headrace.adapters.servers import Servers
from headrace.domain.retention.installation import keeps_everything
from headrace.settings import Settings
from support.harness import new_database, serving, working
from support.old_rows import REPORT, UPLOAD, OldRows, fill_database

PREVIOUS = "0003"
TABLES = (
    "users",
    "pipelines",
    "jobs",
    "job_events",
    "step_runs",
    "files",
    "tags",
    "job_tags",
    "idempotency_keys",
)


def run_in_thread(call: Any, *arguments: Any) -> Any:
    """Run in a thread without an event loop, because Alembic starts its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


@pytest.fixture
async def previous_url(servers: Servers) -> AsyncIterator[str]:
    """An empty database at the previous release's revision."""
    async with new_database(str(servers.database_url), "template1") as url:
        run_in_thread(AlembicCommands(url).upgrade, PREVIOUS)
        yield url


@pytest.fixture
async def previous(previous_url: str) -> AsyncIterator[StatementPool]:
    pool = await StatementPool.open(previous_url)
    yield pool
    await pool.close()


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blob_dir, max_bytes=1_000_000)


async def rows_of(database: StatementPool) -> dict[str, list[str]]:
    """Return every row of every table of the previous release as text."""
    rows_by_table: dict[str, list[str]] = {}
    for table in TABLES:
        rows = await database.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")  # noqa: S608
        rows_by_table[table] = sorted(row["row"] for row in rows)
    return rows_by_table


async def revision(database: StatementPool) -> str:
    return str((await database.fetch("SELECT version_num FROM alembic_version"))[0]["version_num"])


async def test_an_upgrade_and_downgrade_keep_every_row_unchanged(
    previous: StatementPool, previous_url: str, blobs: BlobStore
) -> None:
    await fill_database(previous, blobs)
    before = await rows_of(previous)

    run_in_thread(upgrade, previous_url)
    above = await revision(previous)
    run_in_thread(AlembicCommands(previous_url).downgrade, PREVIOUS)

    assert all(before.values())
    assert above != PREVIOUS
    assert await revision(previous) == PREVIOUS
    assert await rows_of(previous) == before


async def test_an_installation_that_had_jobs_keeps_everything_after_the_upgrade(
    previous: StatementPool, previous_url: str, database: StatementPool, blobs: BlobStore
) -> None:
    await fill_database(previous, blobs)
    run_in_thread(upgrade, previous_url)

    assert await keeps_everything(previous)
    assert not await keeps_everything(database)


async def test_an_installation_without_jobs_that_has_users_keeps_everything_after_the_upgrade(
    previous: StatementPool, previous_url: str
) -> None:
    await previous.fetch(
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'ann', true, now(), now())"
    )
    run_in_thread(upgrade, previous_url)

    assert await keeps_everything(previous)


async def test_after_the_upgrade_due_order_counts_from_the_later_of_run_at_and_submission(
    previous: StatementPool, previous_url: str, blobs: BlobStore
) -> None:
    old = await fill_database(previous, blobs)
    run_in_thread(upgrade, previous_url)

    rows = await previous.fetch(
        "SELECT id, run_at, created_at, due_order + interval '300 s' AS due FROM jobs"
    )

    jobs = {row["id"]: row for row in rows}
    early, later = jobs[old.jobs["queued"]], jobs[old.jobs["later"]]
    assert early["run_at"] < early["created_at"] == early["due"]
    assert later["created_at"] < later["run_at"] == later["due"]


async def test_after_the_upgrade_the_previous_release_can_still_submit_a_job_with_a_run_at_in_the_past(
    previous: StatementPool, previous_url: str, blobs: BlobStore
) -> None:
    old = await fill_database(previous, blobs)
    run_in_thread(upgrade, previous_url)
    insert = """
        INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                          due_order, created_at, updated_at)
        SELECT gen_random_uuid(), $1, 'noop', 1, 'queued', '{}', '{}', 'default', 5, run_at,
               run_at - interval '300 s' + $2::interval, now(), now()
        FROM (SELECT timestamptz '2000-01-01' AS run_at) past RETURNING id
    """

    [job] = await previous.fetch(insert, old.owner_id, timedelta(0))
    with pytest.raises(asyncpg.CheckViolationError):
        await previous.fetch(insert, old.owner_id, timedelta(seconds=-1))
    run_in_thread(AlembicCommands(previous_url).downgrade, PREVIOUS)

    assert len(await previous.fetch("SELECT FROM jobs WHERE id = $1", job["id"])) == 1


async def test_a_copy_that_an_interrupted_move_of_events_has_left_stops_no_migration(
    previous: StatementPool, previous_url: str, blobs: BlobStore
) -> None:
    await fill_database(previous, blobs)
    before = await rows_of(previous)
    await previous.fetch("CREATE TABLE job_events_2019_05 (LIKE job_events INCLUDING ALL)")

    run_in_thread(upgrade, previous_url)
    await previous.fetch("CREATE TABLE job_changes_2019_05 (LIKE job_changes INCLUDING ALL)")
    run_in_thread(AlembicCommands(previous_url).downgrade, PREVIOUS)

    assert await rows_of(previous) == before
    left = await previous.fetch("SELECT relname FROM pg_class WHERE relname ~ '2019_05$'")
    assert left == []


async def test_a_migration_gives_way_to_those_who_wait_for_a_table_that_it_waits_for(
    previous: StatementPool, previous_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_MAX_TRIES", 1)
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.0)
    backup = await asyncpg.connect(previous_url)
    async with backup.transaction():
        await backup.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        with pytest.raises(migrations.SchemaLockedError):
            await asyncio.to_thread(upgrade, previous_url)
        assert await revision(previous) == PREVIOUS
    await backup.close()

    await asyncio.to_thread(upgrade, previous_url)

    assert await revision(previous) == newest_revision()


async def test_after_the_upgrade_the_previous_release_can_still_read_and_write_events(
    previous: StatementPool, previous_url: str, blobs: BlobStore
) -> None:
    old = await fill_database(previous, blobs)
    job_id = old.jobs["queued"]
    run_in_thread(upgrade, previous_url)
    await previous.fetch(
        "INSERT INTO job_changes (job_id, seq, at, type, body, earlier)"
        " VALUES ($1, 4, now(), 'step.succeeded', '{}', $2)",
        *(job_id, '[["log",{"n":1.0}],["step.started",{ }]]'),
    )

    written = await previous.fetch(
        "WITH logged AS (INSERT INTO job_events (job_id, seq, at, type, body)"
        " SELECT $1, 5, now(), 'job.succeeded', '{}' RETURNING seq) SELECT seq FROM logged",
        job_id,
    )
    read = await previous.fetch(
        "SELECT seq, type, body::text AS body FROM job_events WHERE job_id = $1 AND seq > $2"
        " ORDER BY seq LIMIT $3",
        *(job_id, 1, 100),
    )
    with pytest.raises(asyncpg.UndefinedTableError):
        # The chore that creates partitions begins with this. It must not take the log for an empty one.
        await previous.fetch("SELECT job_id FROM job_events_rest")
    run_in_thread(AlembicCommands(previous_url).downgrade, PREVIOUS)
    after = await previous.fetch(
        "SELECT seq, type, body::text AS body FROM job_events WHERE job_id = $1 AND seq > 1 ORDER BY seq",
        job_id,
    )

    assert [row["seq"] for row in written] == [5]
    assert [(row["seq"], row["type"], row["body"]) for row in read] == [
        (2, "log", '{"n":1.0}'),
        (3, "step.started", "{ }"),
        (4, "step.succeeded", "{}"),
        (5, "job.succeeded", "{}"),
    ]
    assert after == read


async def test_after_the_upgrade_old_data_is_readable_and_old_jobs_continue(
    previous: StatementPool, previous_url: str, blobs: BlobStore, settings: Settings
) -> None:
    old = await fill_database(previous, blobs)
    run_in_thread(upgrade, previous_url)
    settings = msgspec.structs.replace(settings, database_url=previous_url)

    async with serving(settings) as api:
        listed = (await api.http.get("/api/v1/jobs")).json()
        assert {job["id"]: job["state"] for job in listed["items"]} == {
            str(job_id): "queued" if name == "later" else name for name, job_id in old.jobs.items()
        }
        await assert_everything_is_readable(api, old)
        await assert_response_is_replayed(api, old)

        async with working(settings):
            # The queued job starts; the running job lost its worker with the old release.
            for name in ("queued", "running"):
                assert (await api.finish(str(old.jobs[name])))["state"] == "succeeded", name
            await api.http.post(f"/api/v1/jobs/{old.jobs['failed']}/retry")
            assert (await api.finish(str(old.jobs["failed"])))["state"] == "succeeded"
            new = await api.submit("noop", tags=["nightly", "new"])
            assert (await api.finish(new["id"]))["state"] == "succeeded"

        await assert_deletion_works(api, old)
        await assert_no_blob_is_orphaned(previous, old, blobs)

    before = await rows_of(previous)
    run_in_thread(AlembicCommands(previous_url).downgrade, PREVIOUS)
    after = await rows_of(previous)
    assert {table: len(rows) for table, rows in after.items()} == {
        table: len(rows) for table, rows in before.items()
    }
    assert new["id"] in "".join(after["jobs"])


async def test_the_downgrade_makes_duplicate_file_names_unique(
    previous: StatementPool, previous_url: str, blobs: BlobStore
) -> None:
    old = await fill_database(previous, blobs)
    run_in_thread(upgrade, previous_url)
    await previous.fetch("UPDATE files SET name = repeat('ü', 255) WHERE name = 'report.txt'")
    [copy] = await previous.fetch("""
        INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256, created_at, updated_at)
        SELECT gen_random_uuid(), owner_id, job_id, step, name, media_type, size, sha256, now(), now()
        FROM files WHERE job_id IS NOT NULL RETURNING id
    """)

    run_in_thread(AlembicCommands(previous_url).downgrade, PREVIOUS)

    rows = await previous.fetch("SELECT id, name FROM files WHERE job_id IS NOT NULL")
    assert {row["id"]: row["name"] for row in rows} == {
        old.files["report.txt"]: "ü" * 255,
        copy["id"]: "ü" * 218 + f"-{copy['id']}",
    }


async def assert_everything_is_readable(api: Any, old: OldRows) -> None:
    job = await api.job(str(old.jobs["succeeded"]))
    assert (job["params"], job["result"], job["progress"]) == ({"count": 7}, {"ticks": 7}, 1.0)
    assert job["meta"] == {"note": "50% off", "deep": {"er": [1, None]}}
    assert job["tags"] == ["müde", "nightly"]
    assert (job["preset_id"], job["event_seq"]) == (None, 7)
    failed = await api.job(str(old.jobs["failed"]))
    assert failed["error"] == {"code": "step_failed", "message": "it broke", "step": "nothing"}
    events = await api.events(job["id"])
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert events[3]["message"] == "half way"
    steps = (await api.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]
    assert [(step["name"], step["index"], step["output"]) for step in steps] == [
        ("tick", 0, {"ticks": 7}),
        ("total", None, {"ticks": 7}),
    ]
    tagged = (await api.http.get("/api/v1/jobs", params={"tag": "müde"})).json()["items"]
    assert [item["id"] for item in tagged] == [job["id"]]
    for name, content in (("report.txt", REPORT), ("upload.bin", UPLOAD)):
        url = f"/api/v1/files/{old.files[name]}"
        assert (await api.http.get(url)).json()["sha256"] == hashlib.sha256(content).hexdigest()
        assert (await api.http.get(f"{url}/content")).content == content
    body = {"query": "{ jobs { id owner { username } tags { name } files { name } } }"}
    graph = {item["id"]: item for item in (await api.http.post("/graphql", json=body)).json()["data"]["jobs"]}
    assert len(graph) == len(old.jobs)
    assert graph[job["id"]]["files"] == [{"name": "report.txt"}]
    assert graph[job["id"]]["owner"] == {"username": "dev"}


async def assert_response_is_replayed(api: Any, old: OldRows) -> None:
    response = await api.http.post(
        "/api/v1/jobs", json={"pipeline": "noop"}, headers={"Idempotency-Key": old.key}
    )
    assert response.content == old.answer
    assert response.headers["Idempotency-Replayed"] == "true"


async def assert_deletion_works(api: Any, old: OldRows) -> None:
    job_id, file_id = old.jobs["succeeded"], old.files["report.txt"]

    assert (await api.http.delete(f"/api/v1/jobs/{job_id}")).status_code == 204

    assert (await api.http.get(f"/api/v1/jobs/{job_id}")).status_code == 404
    assert (await api.http.get(f"/api/v1/files/{file_id}")).status_code == 404
    assert (await api.http.get(f"/api/v1/files/{old.files['upload.bin']}")).status_code == 200
    tagged = (await api.http.get("/api/v1/jobs", params={"tag": "nightly"})).json()["items"]
    assert str(job_id) not in {item["id"] for item in tagged}
    assert len(tagged) == 2


def old_key(content: bytes) -> UUID:
    """Return the key of bytes that the previous release has stored."""
    return UUID(bytes=hashlib.sha256(content).digest()[:16])


async def assert_no_blob_is_orphaned(database: StatementPool, old: OldRows, blobs: BlobStore) -> None:
    """Check that blobs without a row are removed or recorded for removal."""
    recorded = {row["file_id"] for row in await database.fetch("SELECT file_id FROM blob_removals")}
    assert (
        old.files["report.txt"] in recorded
        or not blobs.path(old.files["report.txt"], old_key(REPORT)).exists()
    )
    assert blobs.path(old.files["upload.bin"], old_key(UPLOAD)).exists()
