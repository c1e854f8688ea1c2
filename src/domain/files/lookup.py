"""What a step may ask about files."""

from uuid import UUID

from headrace.domain.database import Database


async def sha256_of(database: Database, file_id: UUID, owner_id: UUID) -> bytes | None:
    """The digest of a file of that owner, None when there is no such file; for steps."""
    rows = await database.fetch("SELECT sha256 FROM files WHERE id = $1 AND owner_id = $2", file_id, owner_id)
    return bytes(rows[0]["sha256"]) if rows else None
