"""Blobs are removed once after their rows are deleted, by any path, and also after a crash."""

import asyncio
import os
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.domain.files.removals import BlobRemovals
from headrace.settings import Settings
from headrace.workers.maintenance.blob_remover import BlobRemover, BlobsNotRemovedError
from support.blobs import make_old, stored
from support.harness import Api
from support.patience import PATIENCE_SECONDS

RECORDED_REMOVALS = "SELECT file_id FROM blob_removals"


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blob_dir, max_bytes=1_000_000)


@pytest.fixture
def remover(database: StatementPool, blobs: BlobStore) -> BlobRemover:
    return BlobRemover(database, blobs)


async def store(database: StatementPool, blobs: BlobStore, owner_id: str, job_id: str, name: str) -> UUID:
    """Store a file as a step does."""
    file_id = uuid5(UUID(job_id), name)
    kept = await asyncio.to_thread(blobs.put, file_id, name.encode())
    await database.fetch(
        "INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256, blob_key,"
        " created_at, updated_at) VALUES ($1, $2, $3, 'tick', $4, 'a/b', $5, $6, $7, now(), now())"
        " ON CONFLICT (id) DO UPDATE SET sha256 = excluded.sha256, blob_key = excluded.blob_key",
        file_id,
        UUID(owner_id),
        UUID(job_id),
        name,
        kept.size,
        kept.sha256,
        kept.key,
    )
    return file_id


async def test_deleting_a_user_removes_all_their_rows_and_blobs(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, remover: BlobRemover
) -> None:
    body = {"title": "T", "pipeline": "noop", "params": {}, "tags": ["t"]}
    preset = (await api.http.post("/api/v1/presets", json=body)).json()
    url = f"/api/v1/presets/{preset['id']}/jobs"
    job = (await api.http.post(url, json={"tags": ["t"]}, headers={"Idempotency-Key": "k"})).json()
    await store(database, blobs, preset["owner_id"], job["id"], "made")
    await api.http.post("/api/v1/files", files={"file": ("own", b"x")})
    stranger = UUID(int=7)
    await asyncio.to_thread(blobs.put, stranger, b"somebody else's")
    make_old(settings)

    await database.fetch("DELETE FROM users WHERE id = $1", UUID(preset["owner_id"]))

    for table in ("jobs", "presets", "tags", "job_tags", "preset_tags", "job_events", "idempotency_keys"):
        (row,) = await database.fetch(f"SELECT count(*) AS left FROM {table}")  # noqa: S608
        assert row["left"] == 0, table
    assert len(stored(settings)) == 3
    assert await remover.remove_due() == 2
    assert [path.name.partition(".")[0] for path in stored(settings)] == [str(stranger)]
    assert await database.fetch(RECORDED_REMOVALS) == []


async def test_a_worker_removes_the_blobs_of_deleted_files_and_jobs(
    service: Api, settings: Settings, database: StatementPool, blobs: BlobStore
) -> None:
    job = await service.finish((await service.submit("noop"))["id"])
    (owner,) = await database.fetch("SELECT owner_id FROM jobs")
    file_ids = [await store(database, blobs, str(owner["owner_id"]), job["id"], name) for name in "abc"]
    own = (await service.http.post("/api/v1/files", files={"file": ("a", b"x")})).json()
    make_old(settings)
    listed = (await service.http.get(f"/api/v1/jobs/{job['id']}/files")).json()
    assert (listed["total"], len(stored(settings))) == (len(file_ids), 4)

    deletions = [
        await service.http.delete(f"/api/v1/jobs/{job['id']}"),
        await service.http.delete(f"/api/v1/files/{own['id']}"),
    ]

    assert [response.status_code for response in deletions] == [204, 204]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while stored(settings):
            await asyncio.sleep(0.05)


async def test_two_workers_claim_different_removals(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, remover: BlobRemover
) -> None:
    files = [(await api.http.post("/api/v1/files", files={"file": ("a", b"x")})).json() for _ in range(8)]
    await database.fetch("DELETE FROM files")
    removals = BlobRemovals(database)

    shares = await asyncio.gather(*(removals.claim(4, retry_after=timedelta(minutes=1)) for _ in range(2)))
    left = await remover.remove_due()

    taken = [removal.file_id for share in shares for removal in share]
    assert sorted(map(str, taken)) == sorted(file["id"] for file in files)
    assert (left, len(stored(settings))) == (0, 8)


async def test_removals_interrupted_by_a_crash_are_repeated(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, remover: BlobRemover
) -> None:
    files = [(await api.http.post("/api/v1/files", files={"file": ("a", b"x")})).json() for _ in range(2)]
    make_old(settings)
    await database.fetch("DELETE FROM files")
    await BlobRemovals(database).claim(10, retry_after=timedelta(minutes=1))
    blobs.remove(UUID(files[0]["id"]))

    meanwhile = await remover.remove_due()
    await database.fetch("UPDATE blob_removals SET at = at - interval '1 minute'")
    later = await remover.remove_due()

    assert (meanwhile, later) == (0, 2)
    assert stored(settings) == []
    assert await database.fetch(RECORDED_REMOVALS) == []


async def test_a_blob_that_a_step_saves_again_is_not_removed(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, remover: BlobRemover
) -> None:
    job = await api.submit("noop")
    (owner,) = await database.fetch("SELECT owner_id FROM jobs")
    file_id = await store(database, blobs, str(owner["owner_id"]), job["id"], "again")
    await database.fetch("DELETE FROM files")
    young = await remover.remove_due()
    await store(database, blobs, str(owner["owner_id"]), job["id"], "again")
    make_old(settings)
    await database.fetch("UPDATE blob_removals SET at = at - interval '1 minute'")

    back = await remover.remove_due()

    assert (young, back) == (0, 1)
    assert [path.name.partition(".")[0] for path in stored(settings)] == [str(file_id)]
    assert await database.fetch(RECORDED_REMOVALS) == []


async def test_the_replaced_contents_of_a_file_are_removed_and_the_last_one_is_kept(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, remover: BlobRemover
) -> None:
    job = await api.submit("noop")
    (owner,) = await database.fetch("SELECT owner_id FROM jobs")
    for _ in range(5):
        file_id = await store(database, blobs, str(owner["owner_id"]), job["id"], "one name")
    before = len(stored(settings))
    make_old(settings)

    removed = await remover.remove_due()

    (row,) = await database.fetch("SELECT blob_key FROM files")
    assert (before, removed, stored(settings)) == (5, 1, [blobs.path(file_id, row["blob_key"])])
    assert await database.fetch(RECORDED_REMOVALS) == []


async def test_bytes_that_no_row_names_are_marked_and_removed_a_day_later(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, remover: BlobRemover
) -> None:
    job = await api.submit("noop")
    (owner,) = await database.fetch("SELECT owner_id FROM jobs")
    file_id = await store(database, blobs, str(owner["owner_id"]), job["id"], "named")
    # Another attempt has stored the same file and could not write the row; an upload broke off as well.
    await asyncio.to_thread(blobs.put, file_id, b"named")
    await asyncio.to_thread(blobs.put, UUID(int=7), b"an upload")
    (settings.blob_dir / ".broken.part").write_bytes(b"half")
    young = await remover.search(256)
    make_old(settings)
    os.utime(settings.blob_dir / ".broken.part", (0, 0))

    found = await remover.search(256)
    marked = (await remover.remove_due(), len(stored(settings)))
    await database.fetch("UPDATE blob_removals SET at = at - interval '23 hours'")
    await remover.search(256)
    a_day_later = await remover.remove_due()
    await database.fetch("UPDATE blob_removals SET at = at - interval '1 hour'")
    removed = await remover.remove_due()

    (row,) = await database.fetch("SELECT blob_key FROM files")
    assert (young, found, marked) == (0, 2, (0, 3))
    assert (a_day_later, removed) == (0, 2)
    assert stored(settings) == [blobs.path(file_id, row["blob_key"])]


async def test_a_removal_recorded_again_during_its_claim_is_kept(api: Api, database: StatementPool) -> None:
    await api.http.post("/api/v1/files", files={"file": ("a", b"x")})
    rows: Any = await database.fetch("DELETE FROM files RETURNING *")
    removals = BlobRemovals(database)
    taken = await removals.claim(10, retry_after=timedelta(minutes=1))
    await database.fetch(
        "INSERT INTO files (id, owner_id, name, media_type, size, sha256, created_at, updated_at)"
        " VALUES ($1, $2, 'a', 'a/b', 1, sha256('x'), now(), now())",
        rows[0]["id"],
        rows[0]["owner_id"],
    )
    await database.fetch("DELETE FROM files")

    await removals.finish(taken)

    assert len(await database.fetch(RECORDED_REMOVALS)) == 1


async def test_a_blob_that_cannot_be_removed_does_not_block_the_others(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [(await api.http.post("/api/v1/files", files={"file": ("a", b"x")})).json() for _ in range(3)]
    make_old(settings)
    await database.fetch("DELETE FROM files")
    remove = blobs.remove

    def refuse_one(file_id: UUID, **limits: Any) -> bool:
        if str(file_id) == files[1]["id"]:
            raise PermissionError(13, "not yours")
        return remove(file_id, **limits)

    monkeypatch.setattr(blobs, "remove", refuse_one)

    with pytest.raises(BlobsNotRemovedError, match=r"the bytes of 1 file could not be removed: .*not yours"):
        await BlobRemover(database, blobs).remove_due()

    assert [str(row["file_id"]) for row in await database.fetch(RECORDED_REMOVALS)] == [files[1]["id"]]
