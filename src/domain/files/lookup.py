"""Looks up files for steps."""

from typing import Final
from uuid import UUID

from headrace.domain.database import Database

BLOB_KEY: Final = "SELECT blob_key FROM files WHERE id = $1 AND owner_id = $2"


async def fetch_blob_key(database: Database, file_id: UUID, owner_id: UUID) -> UUID | None:
    """Fetch the key of the bytes of an owner's file; None when the owner has no such file."""
    rows = await database.fetch(BLOB_KEY, file_id, owner_id)
    return rows[0]["blob_key"] if rows else None
