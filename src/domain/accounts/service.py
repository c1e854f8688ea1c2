"""The use cases of accounts: admins manage users and read the audit log, users manage their API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from headrace.domain.accounts.caller import CurrentUser, ForbiddenError
from headrace.domain.accounts.errors import (
    MAX_KEYS,
    KeyNotFoundError,
    OwnAccountError,
    TooManyKeysError,
    UserNotFoundError,
)
from headrace.domain.accounts.keys import make_key
from headrace.domain.accounts.models import ApiKey, AuditEntry, User
from headrace.domain.accounts.reach import Reach
from headrace.domain.accounts.repository import ApiKeyRepository, AuditRepository, UserFilter, UserRepository
from headrace.domain.accounts.scopes import ADMIN_SCOPES
from headrace.domain.base import Session, database_now
from headrace.domain.paging import ListPage, PageRequest


class UserService:
    """Users, for admins only: routes demand the scope `admin`. Methods flush; the caller commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._repository = UserRepository(session)

    async def get(self, user_id: UUID) -> User:
        """Return a user.

        Raises:
            UserNotFoundError: there is no such user.
        """
        user = await self._repository.fetch(user_id)
        if user is None:
            raise UserNotFoundError(user_id)
        return user

    async def get_page(self, filters: UserFilter) -> ListPage[User]:
        """Return a page of the matching users, and the number of all."""
        return await self._repository.fetch_page(filters)

    async def set_admin(self, user_id: UUID, caller: CurrentUser, *, is_admin: bool) -> User:
        """Grant or withdraw a user's admin rights.

        Raises:
            UserNotFoundError: there is no such user.
            OwnAccountError: callers would withdraw their own rights.
        """
        user = await self.get(user_id)
        if user_id == caller.id and not is_admin:
            raise OwnAccountError
        user.is_admin = is_admin
        await self._session.flush()
        return user

    async def delete(self, user_id: UUID, caller: CurrentUser) -> None:
        """Delete a user and everything that the user owns.

        Raises:
            UserNotFoundError: there is no such user.
            OwnAccountError: callers would delete their own account.
        """
        user = await self.get(user_id)
        if user_id == caller.id:
            raise OwnAccountError
        await self._repository.delete(user)

    async def revoke_sessions(self, user_id: UUID) -> None:
        """Sign a user out everywhere. Streams that the sessions opened are closed as well.

        Raises:
            UserNotFoundError: there is no such user.
        """
        await self.get(user_id)
        await self._repository.revoke_sessions(user_id)


class ApiKeyService:
    """API keys of the caller; for admins those of all users. Methods flush; the caller commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._repository = ApiKeyRepository(session)

    async def create(
        self, owner: CurrentUser, name: str, scopes: Sequence[str], expires_at: datetime | None
    ) -> tuple[ApiKey, str]:
        """Create a key. Return it with its text, which is not stored and cannot be shown again.

        Raises:
            ForbiddenError: the key would have more rights than its owner.
            TooManyKeysError: the owner has as many keys as an account may have.
        """
        for scope in sorted(ADMIN_SCOPES & set(scopes)):
            if scope not in owner.rights:
                raise ForbiddenError(f"only an admin's key can have the scope {scope}")
        await self._repository.lock_owner(owner.id)
        if await self._repository.count(owner.id) >= MAX_KEYS:
            raise TooManyKeysError
        new_key = make_key()
        now = await database_now(self._session)
        key = ApiKey(
            owner_id=owner.id,
            name=name,
            prefix=new_key.prefix,
            digest=new_key.digest,
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
            created_at=now,
            updated_at=now,
        )
        await self._repository.insert(key)
        return key, new_key.text

    async def get(self, key_id: UUID, reach: Reach) -> ApiKey:
        """Return a key within reach.

        Raises:
            KeyNotFoundError: there is no such key within reach.
        """
        key = await self._repository.fetch(key_id, reach)
        if key is None:
            raise KeyNotFoundError(key_id)
        return key

    async def get_page(self, reach: Reach, owner_id: UUID, page: PageRequest) -> ListPage[ApiKey]:
        """Return a page of an owner's keys within reach, newest first, and the number of all of them."""
        return await self._repository.fetch_page(reach, owner_id, page)

    async def revoke(self, key_id: UUID, reach: Reach) -> None:
        """Delete a key. It is refused everywhere within a second.

        Raises:
            KeyNotFoundError: there is no such key within reach.
        """
        await self._repository.delete(await self.get(key_id, reach))


class AuditService:
    """The audit log, for admins only: its route demands the scope `admin`."""

    def __init__(self, session: Session) -> None:
        self._repository = AuditRepository(session)

    async def get_page(self, page: PageRequest) -> ListPage[AuditEntry]:
        """Return a page of entries, newest first, and the number of all of them."""
        return await self._repository.fetch_page(page)
