"""Refreshes and revokes login sessions."""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.expiry import Expiry

SESSION_EXPIRY: Final = Expiry("login_sessions", "expires_at")

# Two concurrent refreshes with one token: PostgreSQL re-checks the conditions of the second after the first
# committed, so one wins and the other counts as reuse.
_REFRESH: Final = """
UPDATE login_sessions SET
    generation = generation + CASE WHEN generation = $3 THEN 1 ELSE 0 END,
    revoked_at = CASE WHEN generation <> $3 THEN statement_timestamp() END,
    updated_at = statement_timestamp()
WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > statement_timestamp()
RETURNING generation, expires_at, revoked_at IS NOT NULL AS was_reused
"""

_REVOKE: Final = """
UPDATE login_sessions SET revoked_at = statement_timestamp(), updated_at = statement_timestamp()
WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
"""


class Refreshed(Struct, frozen=True):
    """A session after a refresh. *was_reused*: the token had been used before, so the session is revoked."""

    generation: int
    expires_at: datetime
    was_reused: bool


class SessionRepository:
    """Every method is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refresh(self, session_id: UUID, user_id: UUID, generation: int) -> Refreshed | None:
        """Advance to the next generation; revoke the session if *generation* is not the current one.

        Return None when the session does not exist, has expired or was revoked.
        """
        rows = await self._database.fetch(_REFRESH, session_id, user_id, generation)
        if not rows:
            return None
        return Refreshed(rows[0]["generation"], rows[0]["expires_at"], rows[0]["was_reused"])

    async def revoke(self, session_id: UUID, user_id: UUID) -> None:
        """Revoke a session that is not revoked yet."""
        await self._database.fetch(_REVOKE, session_id, user_id)
