"""Files outlive a downgrade to the previous release and the upgrade after it."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.blob_survey import BlobSurvey
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import AlembicCommands, upgrade
from headrace.settings import Settings
from headrace.workers.maintenance.blob_remover import BlobRemover
from support.blobs import make_old, stored
from support.harness import Api

PREVIOUS = "0006"


def run_in_thread(call: Any, *arguments: Any) -> Any:
    """Run in a thread without an event loop, because Alembic starts its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blob_dir, max_bytes=1_000_000)


@pytest.fixture
async def reopened(database_url: str) -> AsyncIterator[StatementPool]:
    """Connections without statements that were prepared for another schema."""
    pool = await StatementPool.open(database_url)
    yield pool
    await pool.close()


async def test_files_are_found_again_after_a_downgrade_and_an_upgrade(
    api: Api,
    settings: Settings,
    database: StatementPool,
    reopened: StatementPool,
    database_url: str,
    blobs: BlobStore,
) -> None:
    same, saved_again = [
        (await api.http.post("/api/v1/files", files={"file": ("a", content)})).json()
        for content in (b"first", b"second")
    ]
    make_old(settings)

    run_in_thread(AlembicCommands(database_url).downgrade, PREVIOUS)
    # The previous release names the bytes that it saves by their digest.
    await database.fetch("UPDATE files SET sha256 = sha256('third') WHERE id = $1", saved_again["id"])
    run_in_thread(upgrade, database_url)

    assert [str(file.file_id) async for file in BlobSurvey(reopened, blobs).find_damaged()] == [
        saved_again["id"]
    ]
    remover = BlobRemover(reopened, blobs)
    await remover.search(256)
    await remover.remove_due()
    left = {path.name.partition(".")[0] for path in stored(settings)}
    assert left == {same["id"], saved_again["id"]}
    tables = await reopened.fetch("SELECT 1 FROM pg_tables WHERE tablename = 'kept_blob_keys'")
    assert tables == []
