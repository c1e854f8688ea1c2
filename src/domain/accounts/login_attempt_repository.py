"""Those who were sent to a provider and are not back yet: each comes back once."""

from datetime import timedelta
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database

LOGIN_LIFE: Final = timedelta(minutes=10)

_ADD: Final = """
INSERT INTO login_attempts (state, provider, secrets, return_to, expires_at)
VALUES ($1, $2, $3, $4, statement_timestamp() + $5::interval)
"""

_TAKE: Final = """
DELETE FROM login_attempts WHERE state = $1 AND provider = $2
RETURNING secrets, return_to, expires_at <= statement_timestamp() AS is_expired
"""


class PendingLogin(Struct, frozen=True):
    """One who is back. *secrets* are encrypted."""

    secrets: bytes
    return_to: str
    is_expired: bool


class LoginAttemptRepository:
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, state: bytes, provider: str, secrets: bytes, return_to: str) -> None:
        """Remember somebody for ten minutes by the digest of the state that they carry."""
        await self._database.fetch(_ADD, state, provider, secrets, return_to, LOGIN_LIFE)

    async def take(self, state: bytes, provider: str) -> PendingLogin | None:
        """Who was sent there with that state; None the second time."""
        rows = await self._database.fetch(_TAKE, state, provider)
        if not rows:
            return None
        return PendingLogin(bytes(rows[0]["secrets"]), rows[0]["return_to"], rows[0]["is_expired"])

    async def delete_expired(self) -> None:
        """Delete the sign-ins that can no longer be completed."""
        await self._database.fetch("DELETE FROM login_attempts WHERE expires_at < statement_timestamp()")
