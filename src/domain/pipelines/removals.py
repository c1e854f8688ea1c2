"""Deletes the rows of removed pipelines once no job names them."""

from typing import Final

from headrace.domain.database import Database

# API processes may know a pipeline for a second after its removal, and store a job of it.
_DELETE_REMOVED: Final = """
DELETE FROM pipelines p WHERE removed_at < statement_timestamp() - interval '1 hour' AND NOT EXISTS (
    SELECT 1 FROM jobs j WHERE j.pipeline = p.name AND j.version = p.version
)
"""


async def delete_removed(database: Database) -> None:
    """Delete versions that were removed more than an hour ago and that no job names."""
    await database.fetch(_DELETE_REMOVED)
