"""Pending sign-ins that await the provider's callback. Each can be redeemed once."""

from datetime import timedelta
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.expiry import Expiry

LOGIN_LIFE: Final = timedelta(minutes=10)
LOGIN_EXPIRY: Final = Expiry("login_attempts", "expires_at")

_INSERT: Final = """
INSERT INTO login_attempts (state, provider, secrets, return_to, expires_at)
VALUES ($1, $2, $3, $4, statement_timestamp() + $5::interval)
"""

_REDEEM: Final = """
DELETE FROM login_attempts WHERE state = $1 AND provider = $2
RETURNING secrets, return_to, expires_at <= statement_timestamp() AS is_expired
"""


class PendingLogin(Struct, frozen=True):
    """A sign-in whose callback has arrived. *secrets* are encrypted."""

    secrets: bytes
    return_to: str
    is_expired: bool


class LoginAttemptRepository:
    """Every method is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, state: bytes, provider: str, secrets: bytes, return_to: str) -> None:
        """Store a sign-in for ten minutes. *state* is the digest of the state that the browser carries."""
        await self._database.fetch(_INSERT, state, provider, secrets, return_to, LOGIN_LIFE)

    async def redeem(self, state: bytes, provider: str) -> PendingLogin | None:
        """Delete and return the sign-in with that state; None when it is unknown or already redeemed."""
        rows = await self._database.fetch(_REDEEM, state, provider)
        if not rows:
            return None
        return PendingLogin(bytes(rows[0]["secrets"]), rows[0]["return_to"], rows[0]["is_expired"])
