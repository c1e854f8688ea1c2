"""Stores a provider's tokens for a user, encrypted."""

from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database

_FETCH: Final = """
SELECT id, subject, tokens FROM identities
WHERE provider = $1 AND user_id = $2 AND tokens IS NOT NULL ORDER BY id LIMIT 1
"""

_REPLACE: Final = """
UPDATE identities SET tokens = $3, updated_at = statement_timestamp() WHERE id = $1 AND tokens = $2
RETURNING id
"""


class ProviderAccount(Struct, frozen=True):
    """A user's identity at a provider, with its encrypted tokens."""

    id: UUID
    subject: str
    tokens: bytes


class ProviderAccountRepository:
    """Every method is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, provider: str, user_id: UUID) -> ProviderAccount | None:
        """Fetch the user's identity at a provider; None where no tokens are stored."""
        rows = await self._database.fetch(_FETCH, provider, user_id)
        return ProviderAccount(rows[0]["id"], rows[0]["subject"], bytes(rows[0]["tokens"])) if rows else None

    async def replace_tokens(self, account: ProviderAccount, tokens: bytes | None) -> bool:
        """Replace or delete the tokens. Return False where another process has replaced them meanwhile."""
        return bool(await self._database.fetch(_REPLACE, account.id, account.tokens, tokens))
