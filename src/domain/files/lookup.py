"""Looks up files for steps."""

from uuid import UUID

from headrace.domain.database import Database


async def fetch_sha256(database: Database, file_id: UUID, owner_id: UUID) -> bytes | None:
    """Fetch the digest of an owner's file; None when the owner has no such file."""
    rows = await database.fetch("SELECT sha256 FROM files WHERE id = $1 AND owner_id = $2", file_id, owner_id)
    return bytes(rows[0]["sha256"]) if rows else None
