"""Compares the blob store with the rows of files: bytes without a row, and rows without their bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from headrace.adapters.blob_store import BlobStore, BlobVersion
from headrace.domain.database import Database, Row

_BATCH_SIZE: Final = 1_000

_UNNAMED: Final = """
SELECT stored.position FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS stored(file_id, key, position)
LEFT JOIN files ON files.id = stored.file_id AND files.blob_key = stored.key
WHERE files.id IS NULL ORDER BY stored.position
"""

_FILES: Final = "SELECT id, blob_key FROM files WHERE id > $1 ORDER BY id LIMIT $2"


class BlobSurvey:
    """Finds what does not fit together. It does not mistake a write under way for a fault."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def find_unnamed(self, shard: Path, *, written_before: float) -> list[BlobVersion]:
        """Return the bytes in a folder of the store that no row names, written before that time."""
        versions = [
            version
            for version in await asyncio.to_thread(lambda: list(self._blobs.versions(shard)))
            if version.written_at < written_before
        ]
        unnamed: list[BlobVersion] = []
        for start in range(0, len(versions), _BATCH_SIZE):
            batch = versions[start : start + _BATCH_SIZE]
            ids, keys = [version.file_id for version in batch], [version.key for version in batch]
            rows = await self._database.fetch(_UNNAMED, ids, keys)
            unnamed += [batch[row["position"] - 1] for row in rows]
        return unnamed

    async def find_missing(self) -> AsyncIterator[UUID]:
        """Yield the files whose bytes are not in the store."""
        last = UUID(int=0)
        while rows := await self._database.fetch(_FILES, last, _BATCH_SIZE):
            for file_id in await asyncio.to_thread(self._without_bytes, rows):
                # Meanwhile the file may have been deleted, or saved again under another key.
                statement = "SELECT id, blob_key FROM files WHERE id = $1"
                if self._without_bytes(await self._database.fetch(statement, file_id)):
                    yield file_id
            last = rows[-1]["id"]

    def _without_bytes(self, rows: Sequence[Row]) -> list[UUID]:
        return [row["id"] for row in rows if not self._blobs.path(row["id"], row["blob_key"]).is_file()]
