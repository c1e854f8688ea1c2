"""The queue of blobs to remove: a trigger adds the id of each deleted file, workers take and finish them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database

# A worker that claims removals has them to itself until *at*. After that another worker may claim them.
_CLAIM: Final = """
WITH due AS (
    SELECT file_id FROM blob_removals WHERE at <= statement_timestamp()
    ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE blob_removals b SET at = statement_timestamp() + $2::interval
FROM due WHERE b.file_id = due.file_id
RETURNING b.file_id, b.at, EXISTS (SELECT 1 FROM files WHERE files.id = b.file_id) AS is_back
"""

# A changed *at* means that the file was stored and deleted again meanwhile, so it may have new bytes.
_FINISH: Final = """
DELETE FROM blob_removals b USING unnest($1::uuid[], $2::timestamptz[]) AS done(file_id, at)
WHERE b.file_id = done.file_id AND b.at = done.at
"""


class Removal(Struct, frozen=True):
    """One blob to remove. *is_back*: a step has stored the file again, so its bytes must stay."""

    file_id: UUID
    at: datetime
    is_back: bool


class BlobRemovals:
    """Gives each due removal to one worker at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, limit: int, *, retry_after: timedelta) -> list[Removal]:
        """Claim up to *limit* removals, longest due first. Unfinished ones are due again *retry_after*."""
        rows = await self._database.fetch(_CLAIM, limit, retry_after)
        return [Removal(row["file_id"], row["at"], row["is_back"]) for row in rows]

    async def finish(self, removals: Sequence[Removal]) -> None:
        """Delete finished removals from the queue."""
        ids, times = [removal.file_id for removal in removals], [removal.at for removal in removals]
        await self._database.fetch(_FINISH, ids, times)
