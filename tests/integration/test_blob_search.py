"""Workers search the whole store for bytes that no row names, part by part."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from headrace.adapters.blob_store import BlobStore, BlobVersion
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from headrace.workers.maintenance import blob_remover
from headrace.workers.maintenance.blob_remover import BlobRemover
from support.blobs import make_old
from support.patience import PATIENCE_SECONDS

RECORDED_REMOVALS = "SELECT file_id FROM blob_removals"


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blob_dir, max_bytes=1_000_000)


async def test_searches_of_any_workers_go_through_the_whole_store_in_order(
    settings: Settings, database: StatementPool, blobs: BlobStore
) -> None:
    for number in range(256):
        shard = settings.blob_dir / f"{number:02x}"
        shard.mkdir(parents=True)
        (shard / f"{UUID(int=number)}.{UUID(int=1).hex}").write_bytes(b"of nobody")
    make_old(settings)

    counts = [await BlobRemover(database, blobs).search() for _ in range(24)]

    assert counts == [11] * 24
    assert len(await database.fetch(RECORDED_REMOVALS)) == 256


async def test_a_shard_that_cannot_be_read_fails_the_search_after_the_others(
    settings: Settings, database: StatementPool, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (7, 8):
        await asyncio.to_thread(blobs.put, UUID(int=number), b"of nobody")
    make_old(settings)
    versions = blobs.versions

    def refuse_one(shard: Path) -> Iterator[BlobVersion]:
        if shard.name == "07":
            raise PermissionError(13, "not yours")
        return versions(shard)

    monkeypatch.setattr(blobs, "versions", refuse_one)

    with pytest.raises(PermissionError, match="not yours"):
        await BlobRemover(database, blobs).search()

    assert [row["file_id"] for row in await database.fetch(RECORDED_REMOVALS)] == [UUID(int=8)]


async def test_the_first_search_follows_soon_after_the_start(
    settings: Settings, database: StatementPool, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(blobs.put, UUID(int=7), b"of nobody")
    make_old(settings)
    monkeypatch.setattr(blob_remover, "_FIRST_SEARCH_SECONDS", (0.0, 0.1))

    running = asyncio.create_task(BlobRemover(database, blobs).run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await database.fetch(RECORDED_REMOVALS):
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])
