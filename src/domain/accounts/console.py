"""Creates API keys for those who operate the service's machine, before anybody can sign in."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import select

from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.keys import is_key, prefix_of
from headrace.domain.accounts.models import ApiKey, AuditEntry
from headrace.domain.accounts.repository import UserRepository
from headrace.domain.accounts.scopes import Scope
from headrace.domain.accounts.service import ApiKeyService
from headrace.domain.base import Session, database_now

_ACTOR = "headrace admin"
_ACTION = "makeApiKey"


class KeyStatus(StrEnum):
    """What the database knows of the text of a key."""

    VALID = "valid"
    DELETED = "deleted"
    """The key was made here, and is gone: somebody has deleted it or its user."""
    UNKNOWN = "unknown"


class ConsoleService:
    """The use cases of keys that a command makes. Methods flush; the caller commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def create_key(
        self,
        username: str,
        name: str,
        scopes: Sequence[str],
        lifetime: timedelta | None,
        *,
        makes_admin: bool = False,
    ) -> tuple[ApiKey, str]:
        """Create a key of the user *username*, who is created if missing. Return it with its text.

        With the scope `admin`, or *makes_admin*, the user becomes an admin. The audit log has an entry.

        Raises:
            TooManyKeysError: the user has as many keys as an account may have.
        """
        user = await UserRepository(self._session).ensure(username)
        user.is_admin = user.is_admin or makes_admin or Scope.ADMIN in scopes
        await self._session.flush()
        owner = CurrentUser(id=user.id, username=username, is_admin=user.is_admin)
        expires_at = None if lifetime is None else await database_now(self._session) + lifetime
        key, text = await ApiKeyService(self._session).create(owner, name, scopes, expires_at)
        self._session.add(
            AuditEntry(
                actor_id=user.id,
                actor=_ACTOR,
                action=_ACTION,
                object_id=str(key.id),
                detail={
                    "name": name,
                    "scopes": sorted(set(scopes)),
                    "user": username,
                    "prefix": key.prefix,
                },
            )
        )
        await self._session.flush()
        return key, text

    async def find_status(self, text: str) -> KeyStatus:
        """Return what is known of a key that `create_key` has made. The audit log remembers deleted ones."""
        prefix = prefix_of(text)
        key = (
            await self._session.execute(select(ApiKey).where(ApiKey.prefix == prefix))
        ).scalar_one_or_none()
        if key is not None and is_key(text, key.digest):
            return KeyStatus.VALID
        made_here = select(AuditEntry.id).where(
            AuditEntry.actor == _ACTOR,
            AuditEntry.action == _ACTION,
            AuditEntry.detail["prefix"].astext == prefix,
        )
        is_made_here = (await self._session.execute(select(made_here.exists()))).scalar_one()
        return KeyStatus.DELETED if is_made_here else KeyStatus.UNKNOWN
