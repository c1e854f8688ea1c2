"""Elects the one process that exports the facts of PostgreSQL.

A row with a time limit is used in place of an advisory lock, which a connection pooler in transaction mode
would not keep.
"""

from datetime import timedelta
from typing import Final

from headrace.domain.database import Database

LEASE: Final = timedelta(seconds=15)

_IS_TAKEN: Final = """
SELECT EXISTS (
    SELECT FROM chores
    WHERE name = $1 AND position <> $2 AND succeeded_at > statement_timestamp() - $3::interval
) AS is_taken
"""
_TAKE: Final = """
INSERT INTO chores AS c (name, position, succeeded_at) VALUES ($1, $2, statement_timestamp())
ON CONFLICT (name) DO UPDATE SET position = excluded.position, succeeded_at = excluded.succeeded_at
WHERE c.position IS NOT DISTINCT FROM excluded.position OR c.succeeded_at IS NULL
   OR c.succeeded_at <= statement_timestamp() - $3::interval
RETURNING name
"""
_RELEASE: Final = "UPDATE chores SET succeeded_at = NULL WHERE name = $1 AND position = $2"


class ExporterLease:
    """The lease of one candidate, in the row *name* of `chores`: *position* is the id of its holder."""

    def __init__(self, database: Database, candidate: str, name: str = "export_facts") -> None:
        """*candidate*: an id of this process that no other process has, of at most 64 characters."""
        self._database = database
        self._candidate = candidate
        self._name = name

    async def acquire(self) -> bool:
        """Take or renew the lease for `LEASE`; return False if another process holds it."""
        arguments = (self._name, self._candidate, LEASE)
        (row,) = await self._database.fetch(_IS_TAKEN, *arguments)
        # Most candidates end here, and write nothing.
        return not row["is_taken"] and bool(await self._database.fetch(_TAKE, *arguments))

    async def release(self) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        await self._database.fetch(_RELEASE, self._name, self._candidate)
