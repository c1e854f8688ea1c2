"""Bytes that are to be removed: who does it next, and that it is done."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database

# Whoever takes some is left alone with them for a while; after that they are somebody else's.
_TAKE: Final = """
WITH due AS (
    SELECT file_id FROM blob_removals WHERE at <= statement_timestamp()
    ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE blob_removals b SET at = statement_timestamp() + $2::interval
FROM due WHERE b.file_id = due.file_id
RETURNING b.file_id, b.at, EXISTS (SELECT 1 FROM files WHERE files.id = b.file_id) AS is_back
"""

# Not what was noted once more meanwhile: then there may be bytes again.
_DONE: Final = """
DELETE FROM blob_removals b USING unnest($1::uuid[], $2::timestamptz[]) AS done(file_id, at)
WHERE b.file_id = done.file_id AND b.at = done.at
"""


class Removal(Struct, frozen=True):
    """One file's bytes. *is_back*: a step has made the file again, so its bytes are to stay."""

    file_id: UUID
    at: datetime
    is_back: bool


class BlobRemovals:
    """What is due, given to one worker at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, limit: int, *, again_after: timedelta) -> list[Removal]:
        """Up to *limit* that are due, longest first; those not done by then are due again *again_after*."""
        rows = await self._database.fetch(_TAKE, limit, again_after)
        return [Removal(row["file_id"], row["at"], row["is_back"]) for row in rows]

    async def done(self, removals: Sequence[Removal]) -> None:
        """Forget them."""
        await self._database.fetch(_DONE, [one.file_id for one in removals], [one.at for one in removals])
