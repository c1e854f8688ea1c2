"""The queue of files with bytes that no row names any more; triggers add to it, and workers finish it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database

REMOVAL_LOCK: Final = "hashtextextended('headrace: removals of ' || current_schema(), 0)"
"""The key of an advisory lock. A backup holds it, so that no file loses its bytes meanwhile."""

# A worker that claims removals has them to itself until *at*. After that another worker may claim them.
_CLAIM: Final = f"""
WITH permission AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock_shared({REMOVAL_LOCK}) AS is_given
), due AS (
    SELECT file_id FROM blob_removals WHERE at <= statement_timestamp() AND (SELECT is_given FROM permission)
    ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE blob_removals b SET at = statement_timestamp() + $2::interval
FROM due WHERE b.file_id = due.file_id
RETURNING b.file_id, b.at, (SELECT blob_key FROM files WHERE files.id = b.file_id) AS kept
"""  # noqa: S608

# A changed *at* means that the file was noted again meanwhile, so it may have new bytes.
_FINISH: Final = """
DELETE FROM blob_removals b USING unnest($1::uuid[], $2::timestamptz[]) AS done(file_id, at)
WHERE b.file_id = done.file_id AND b.at = done.at
"""

_NOTE: Final = """
INSERT INTO blob_removals (file_id, at)
SELECT DISTINCT id, statement_timestamp() FROM unnest($1::uuid[]) AS noted(id)
ON CONFLICT (file_id) DO UPDATE SET at = excluded.at
"""


class Removal(Struct, frozen=True):
    """One file whose bytes are to be removed, but for those with the key *kept*, which its row names."""

    file_id: UUID
    at: datetime
    kept: UUID | None


class BlobRemovals:
    """Gives each due removal to one worker at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, file_ids: Iterable[UUID]) -> None:
        """Add files that may have bytes which no row names."""
        await self._database.fetch(_NOTE, list(file_ids))

    async def claim(self, limit: int, *, retry_after: timedelta) -> list[Removal]:
        """Claim up to *limit* removals, longest due first. Unfinished ones are due again *retry_after*.

        None is given while a backup runs.
        """
        rows = await self._database.fetch(_CLAIM, limit, retry_after)
        return [Removal(row["file_id"], row["at"], row["kept"]) for row in rows]

    async def finish(self, removals: Sequence[Removal]) -> None:
        """Delete finished removals from the queue."""
        ids, times = [removal.file_id for removal in removals], [removal.at for removal in removals]
        await self._database.fetch(_FINISH, ids, times)
