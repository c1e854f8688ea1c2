"""The rule for files after a fault: each row has its bytes, and bytes without a row are found and removed."""

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.blob_survey import BlobSurvey
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from headrace.workers.maintenance.blob_remover import MIN_AGE_SECONDS, BlobRemover


class LaterStore(BlobStore):
    """A store whose clock has gone on since the bytes were written."""

    def present(self) -> float:
        return super().present() + 2 * MIN_AGE_SECONDS


async def assert_files_kept(database: StatementPool, settings: Settings) -> int:
    """Assert that rows and store agree, once what is old has been removed; return the number of files."""
    blobs = LaterStore(settings.blob_dir, max_bytes=settings.max_file_bytes)
    survey = BlobSurvey(database, blobs)
    assert [file async for file in survey.find_damaged()] == []
    later = blobs.present()
    unnamed = [
        version
        for shard in blobs.shards()
        for version in await survey.find_unnamed(shard, written_before=later)
    ]
    remover = BlobRemover(database, blobs)
    await remover.search(256)
    await database.fetch("UPDATE blob_removals SET at = statement_timestamp() - interval '1 second'")
    await remover.remove_due()
    assert not any(version.path.exists() for version in unnamed)
    assert [file async for file in survey.find_damaged()] == []
    (row,) = await database.fetch("SELECT count(*) AS files FROM files")
    count: int = row["files"]
    return count
