"""Creates API keys for those who operate the service's machine, before anybody can sign in."""

from collections.abc import Sequence
from datetime import timedelta

from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.models import ApiKey, AuditEntry
from headrace.domain.accounts.repository import UserRepository
from headrace.domain.accounts.scopes import Scope
from headrace.domain.accounts.service import ApiKeyService
from headrace.domain.base import Session, database_now

_ACTOR = "headrace admin"


class ConsoleService:
    """The use case of `headrace admin create-key`. Its method flushes; the caller commits."""

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
                action="makeApiKey",
                object_id=str(key.id),
                detail={"name": name, "scopes": sorted(set(scopes)), "user": username},
            )
        )
        await self._session.flush()
        return key, text
