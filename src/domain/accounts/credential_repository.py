"""Looks up credentials: API keys, sessions, job tokens and users named by a proxy."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct
from uuid_utils.compat import uuid7

from headrace.domain.database import Database, Row

_API_KEY: Final = """
SELECT k.id AS credential_id, k.digest, k.scopes, k.expires_at,
       k.expires_at <= statement_timestamp() AS is_expired, u.id, u.username, u.email, u.is_admin
FROM api_keys k JOIN users u ON u.id = k.owner_id WHERE
"""

_HAS_KEY: Final = """
SELECT EXISTS (
    SELECT 1 FROM api_keys WHERE expires_at IS NULL OR expires_at > statement_timestamp()
) AS has_key
"""

_USER: Final = """
SELECT u.id, u.username, u.email, u.is_admin FROM users u WHERE u.id = $1
"""

_SESSION: Final = """
SELECT s.id AS credential_id, s.expires_at, u.id, u.username, u.email, u.is_admin
FROM login_sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > statement_timestamp()
"""

_JOB_OWNER: Final = """
SELECT j.id AS credential_id, j.tokens_valid_after, u.id, u.username, u.email, u.is_admin
FROM jobs j JOIN users u ON u.id = j.owner_id WHERE j.id = $1
"""

_UPSERT_USER: Final = """
INSERT INTO users AS u (id, username, email, is_admin, last_login_at, created_at, updated_at)
VALUES ($1, $2, $3, false, statement_timestamp(), statement_timestamp(), statement_timestamp())
ON CONFLICT (username) DO UPDATE
SET last_login_at = excluded.last_login_at, email = excluded.email
RETURNING u.id, u.username, u.email, u.is_admin
"""

# A key may be used thousands of times a second, so its last use is written once a minute.
_NOTE_USE: Final = """
UPDATE api_keys SET last_used_at = statement_timestamp()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < statement_timestamp() - interval '1 minute')
"""

_REVOKED: Final = """
SELECT w.place FROM unnest($1::int[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bool[])
    AS w(place, user_id, credential, credential_id, issued_at, needs_admin)
WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = w.user_id AND (u.is_admin OR NOT w.needs_admin))
   OR (w.credential = 'api_key' AND NOT EXISTS (
        SELECT 1 FROM api_keys k WHERE k.id = w.credential_id
          AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())))
   OR (w.credential = 'session' AND NOT EXISTS (
        SELECT 1 FROM login_sessions s WHERE s.id = w.credential_id AND s.revoked_at IS NULL
          AND s.expires_at > statement_timestamp()))
   OR (w.credential = 'job_token' AND EXISTS (
        SELECT 1 FROM jobs j WHERE j.id = w.credential_id AND j.tokens_valid_after >= w.issued_at))
"""


class StoredKey(Struct, frozen=True):
    """An API key and its owner."""

    row: Row
    digest: bytes
    scopes: Sequence[str]
    is_expired: bool


class StreamCredential(Struct, frozen=True):
    """The credential that opened a stream. *needs_admin*: it depends on rights that an admin granted."""

    user_id: UUID
    credential: str
    credential_id: UUID | None
    issued_at: datetime | None
    needs_admin: bool


class CredentialRepository:
    """Every method is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def api_key(self, prefix: str) -> StoredKey | None:
        """Fetch the API key with that prefix; None when it is unknown or revoked."""
        return await self._stored_key(f"{_API_KEY} k.prefix = $1", prefix)

    async def api_key_by_id(self, key_id: UUID) -> StoredKey | None:
        """Fetch the API key with that id; None when it was revoked."""
        return await self._stored_key(f"{_API_KEY} k.id = $1", key_id)

    async def has_api_key(self) -> bool:
        """Return whether there is an API key that has not expired."""
        rows = await self._database.fetch(_HAS_KEY)
        return bool(rows[0]["has_key"])

    async def _stored_key(self, statement: str, value: object) -> StoredKey | None:
        rows = await self._database.fetch(statement, value)
        if not rows:
            return None
        row = rows[0]
        return StoredKey(row, bytes(row["digest"]), row["scopes"], bool(row["is_expired"]))

    async def user(self, user_id: UUID) -> Row | None:
        """Fetch a user; None when it was deleted."""
        rows = await self._database.fetch(_USER, user_id)
        return rows[0] if rows else None

    async def note_use(self, key_id: UUID) -> None:
        """Record that a key was used now."""
        await self._database.fetch(_NOTE_USE, key_id)

    async def session(self, session_id: UUID) -> Row | None:
        """Fetch the user of a session that is neither expired nor revoked."""
        rows = await self._database.fetch(_SESSION, session_id)
        return rows[0] if rows else None

    async def job_token(self, job_id: UUID) -> Row | None:
        """Fetch the owner of a job, and the time up to which its tokens are revoked."""
        rows = await self._database.fetch(_JOB_OWNER, job_id)
        return rows[0] if rows else None

    async def upsert_proxy_user(self, username: str, email: str | None) -> Row:
        """Fetch the user whom a proxy names. The first request creates the user, only once under a race."""
        return (await self._database.fetch(_UPSERT_USER, uuid7(), username, email))[0]

    async def revoked(self, credentials: Sequence[StreamCredential]) -> list[int]:
        """Return the positions of the credentials that are no longer valid."""
        rows = await self._database.fetch(
            _REVOKED,
            list(range(len(credentials))),
            [each.user_id for each in credentials],
            [each.credential for each in credentials],
            [each.credential_id for each in credentials],
            [each.issued_at for each in credentials],
            [each.needs_admin for each in credentials],
        )
        return [row["place"] for row in rows]
