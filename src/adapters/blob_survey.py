"""Compares the blob store with the rows of files: bytes without a row, and rows without all their bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.adapters.blob_store import BlobStore, BlobVersion
from headrace.domain.database import Database, Row

_BATCH_SIZE: Final = 1_000

_UNNAMED: Final = """
SELECT stored.position FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS stored(file_id, key, position)
LEFT JOIN files ON files.id = stored.file_id AND files.blob_key = stored.key
WHERE files.id IS NULL ORDER BY stored.position
"""

_NOT_DUE: Final = """
SELECT stored.position FROM unnest($1::uuid[]) WITH ORDINALITY AS stored(file_id, position)
WHERE NOT EXISTS (
    SELECT FROM blob_removals b
    WHERE b.file_id = stored.file_id AND b.at > statement_timestamp() - $2::interval
) ORDER BY stored.position
"""

_FILES: Final = "SELECT id, blob_key, size FROM files WHERE id > $1 ORDER BY id LIMIT $2"
_FILE: Final = "SELECT id, blob_key, size FROM files WHERE id = $1"


class DamagedFile(Struct, frozen=True):
    """A file whose bytes are not those of its row. *stored*: how many there are; None if there are none."""

    file_id: UUID
    size: int
    stored: int | None


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

    async def find_neglected(
        self, unnamed: Sequence[BlobVersion], *, due_within: timedelta
    ) -> list[BlobVersion]:
        """Return those of *unnamed* whose removal was not due within that time, or is not noted at all."""
        rows = await self._database.fetch(_NOT_DUE, [version.file_id for version in unnamed], due_within)
        return [unnamed[row["position"] - 1] for row in rows]

    async def find_damaged(self) -> AsyncIterator[DamagedFile]:
        """Yield the files whose bytes are not in the store, or are more or fewer than their rows say."""
        last = UUID(int=0)
        while rows := await self._database.fetch(_FILES, last, _BATCH_SIZE):
            for suspect in await asyncio.to_thread(self._damaged, rows):
                # Meanwhile the file may have been deleted, or saved again under another key.
                for damaged in self._damaged(await self._database.fetch(_FILE, suspect.file_id)):
                    yield damaged
            last = rows[-1]["id"]

    def _damaged(self, rows: Sequence[Row]) -> list[DamagedFile]:
        files = [
            DamagedFile(row["id"], row["size"], _size_of(self._blobs.path(row["id"], row["blob_key"])))
            for row in rows
        ]
        return [file for file in files if file.stored != file.size]


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
