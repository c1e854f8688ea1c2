"""No bytes are removed that a row names, or will name; and what cannot be removed is reported."""

import asyncio
import errno
import os
from uuid import UUID, uuid5

import pytest

from headrace.adapters import blob_store
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.files.removals import BlobRemovals
from headrace.settings import Settings
from headrace.workers.maintenance import blob_remover
from headrace.workers.maintenance.blob_remover import BlobRemover, BlobsNotRemovedError
from headrace.workers.maintenance.chore_report import ChoreReport
from support.blobs import make_old, stored
from support.chores import beat
from support.harness import Api
from support.patience import PATIENCE_SECONDS


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blob_dir, max_bytes=1_000_000)


@pytest.mark.parametrize("kind", ["the file of a step", "an upload"])
async def test_bytes_whose_row_follows_are_kept_by_a_worker_whose_clock_is_ahead_of_the_store(
    api: Api,
    settings: Settings,
    database: StatementPool,
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    job = await api.submit("noop")
    file_id = uuid5(UUID(job["id"]), "new") if kind == "the file of a step" else UUID(int=7)
    stored_blob = await asyncio.to_thread(blobs.put, file_id, b"whose row follows")
    make_old(settings)
    path = blobs.path(file_id, stored_blob.key)
    monkeypatch.setattr(blobs, "present", lambda: path.stat().st_mtime + 1, raising=False)
    remover = BlobRemover(database, blobs)
    found = await remover.search(256)
    await BlobRemovals(database).note([file_id])

    removed = await remover.remove_due()

    assert (found, removed) == (0, 0)
    assert path.exists()


async def test_the_present_of_the_store_is_the_time_of_its_files(
    settings: Settings, blobs: BlobStore
) -> None:
    stored_blob = blobs.put(UUID(int=7), b"new")

    present = blobs.present()

    assert 0 <= present - blobs.path(UUID(int=7), stored_blob.key).stat().st_mtime < 60
    assert len(stored(settings)) == 1


async def test_a_full_disk_does_not_keep_bytes_from_being_removed(
    database: StatementPool, settings: Settings, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(blobs.put, UUID(int=7), b"of nobody")
    make_old(settings)
    await BlobRemovals(database).note([UUID(int=7)])

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(blob_store, "open_private", refuse)

    removed = await BlobRemover(database, blobs).remove_due()

    assert (removed, stored(settings)) == (1, [])


async def test_nothing_of_a_file_is_removed_while_the_bytes_that_its_row_names_are_missing(
    api: Api, settings: Settings, database: StatementPool, blobs: BlobStore
) -> None:
    file = (await api.http.post("/api/v1/files", files={"file": ("a", b"content")})).json()
    make_old(settings)
    await database.fetch("UPDATE files SET blob_key = $1", UUID(int=1))
    remover = BlobRemover(database, blobs)

    found = await remover.search(256)
    await remover.remove_due()

    assert found == 1
    assert [path.name.partition(".")[0] for path in stored(settings)] == [file["id"]]


@pytest.mark.parametrize("call", ["remove", "present"])
async def test_a_store_that_is_read_only_fails_the_chore_and_says_why(
    database: StatementPool, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for number in (7, 8):
        await asyncio.to_thread(blobs.put, UUID(int=number), b"of nobody")
    await BlobRemovals(database).note([UUID(int=7), UUID(int=8)])
    chores = ChoreRepository(database)
    remover = BlobRemover(database, blobs, ChoreReport(chores, "w"))
    await beat(database, "w")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(blobs, call, refuse)
    monkeypatch.setattr(blob_remover, "_PERIOD_SECONDS", 0.01)

    removing = asyncio.create_task(remover.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await chores.fetch_failing():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # A run without due removals would succeed meanwhile.
    removing.cancel()
    await asyncio.wait([removing])

    (failing,) = await chores.fetch_failing()
    assert failing.name == "blob_removals"
    reason = "the bytes of 2 files could not be removed: [Errno 30] Read-only file system"
    assert failing.error == f"BlobsNotRemovedError: {reason}"
    assert len(await database.fetch("SELECT FROM blob_removals")) == 2


async def test_a_store_that_is_read_only_fails_the_chore_also_when_another_worker_has_removed_the_bytes(
    database: StatementPool, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(blobs.put, UUID(int=7), b"of nobody")
    await BlobRemovals(database).note([UUID(int=7)])
    remover = BlobRemover(database, blobs)

    def refuse() -> float:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(blobs, "present", refuse)
        with pytest.raises(BlobsNotRemovedError, match="the bytes of 1 file could not be removed"):
            await remover.remove_due()
        await database.fetch("DELETE FROM blob_removals")
        with pytest.raises(BlobsNotRemovedError, match="the bytes of any files could not be removed"):
            await remover.remove_due()

    assert await remover.remove_due() == 0
