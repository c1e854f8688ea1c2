"""Sign-ins that go on: the generation of their refresh token, and their end."""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database

# The conditions are judged again where another refresh was first, so one of two wins and the other is reuse.
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
    """A session after a refresh. *was_reused*: the token had been used before, so the session is over."""

    generation: int
    expires_at: datetime
    was_reused: bool


class SessionRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refresh(self, session_id: UUID, user_id: UUID, generation: int) -> Refreshed | None:
        """Go on to the next generation, or revoke the session where *generation* is not the current one.

        None: there is no such session, or it is over.
        """
        rows = await self._database.fetch(_REFRESH, session_id, user_id, generation)
        if not rows:
            return None
        return Refreshed(rows[0]["generation"], rows[0]["expires_at"], rows[0]["was_reused"])

    async def revoke(self, session_id: UUID, user_id: UUID) -> None:
        """End a session; one that is over stays as it is."""
        await self._database.fetch(_REVOKE, session_id, user_id)

    async def delete_expired(self) -> None:
        """Delete the sessions that can no longer be refreshed."""
        await self._database.fetch("DELETE FROM login_sessions WHERE expires_at < statement_timestamp()")
