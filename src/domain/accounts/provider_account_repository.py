"""The tokens that a provider gave for a user, as they are kept: encrypted."""

from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database

_FIND: Final = """
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
    """Every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, provider: str, user_id: UUID) -> ProviderAccount | None:
        """What is kept of that user there; None where there is nothing to read with."""
        rows = await self._database.fetch(_FIND, provider, user_id)
        return ProviderAccount(rows[0]["id"], rows[0]["subject"], bytes(rows[0]["tokens"])) if rows else None

    async def replace(self, connection: ProviderAccount, tokens: bytes | None) -> bool:
        """Keep other tokens, or none; False where somebody else has replaced them meanwhile."""
        return bool(await self._database.fetch(_REPLACE, connection.id, connection.tokens, tokens))
