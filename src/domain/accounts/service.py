"""What admins do with users, and users with their keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from headrace.domain.accounts.caller import CurrentUser, ForbiddenError
from headrace.domain.accounts.errors import (
    MOST_KEYS,
    KeyNotFoundError,
    OwnAccountError,
    TooManyKeysError,
    UserNotFoundError,
)
from headrace.domain.accounts.keys import make_key
from headrace.domain.accounts.models import ApiKey, User
from headrace.domain.accounts.reach import Reach
from headrace.domain.accounts.repository import ApiKeyRepository, UserRepository
from headrace.domain.base import database_now


class UserService(SQLAlchemyAsyncRepositoryService[User, UserRepository]):
    """For admins. Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = UserRepository

    async def find(self, user_id: UUID) -> User:
        """A user.

        Raises:
            UserNotFoundError: none.
        """
        user = await self.repository.get_one_or_none(id=user_id)
        if user is None:
            raise UserNotFoundError(user_id)
        return user

    async def set_admin(self, user_id: UUID, by: CurrentUser, *, is_admin: bool) -> User:
        """Make a user an admin, or no admin any more.

        Raises:
            UserNotFoundError: none.
            OwnAccountError: it is the caller.
        """
        user = await self.find(user_id)
        if user_id == by.id and not is_admin:
            raise OwnAccountError
        user.is_admin = is_admin
        await self.repository.session.flush()
        return user

    async def remove(self, user_id: UUID, by: CurrentUser) -> None:
        """Delete a user with everything it owns.

        Raises:
            UserNotFoundError: none.
            OwnAccountError: it is the caller.
        """
        user = await self.find(user_id)
        if user_id == by.id:
            raise OwnAccountError
        await self.repository.session.delete(user)
        await self.repository.session.flush()

    async def end_sessions(self, user_id: UUID) -> None:
        """Sign a user out everywhere: what its sessions have opened ends, too.

        Raises:
            UserNotFoundError: none.
        """
        await self.find(user_id)
        await self.repository.end_sessions(user_id)


class ApiKeyService(SQLAlchemyAsyncRepositoryService[ApiKey, ApiKeyRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = ApiKeyRepository

    async def make(
        self, owner: CurrentUser, name: str, scopes: Sequence[str], expires_at: datetime | None
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which is never known again.

        Raises:
            ForbiddenError: it would have more rights than its owner.
            TooManyKeysError: there are enough.
        """
        if "admin" in scopes and not owner.acts_as_admin:
            raise ForbiddenError("only an admin's key can have the scope admin")
        await self.repository.lock_owner(owner.id)
        if await self.repository.count_of(owner.id) >= MOST_KEYS:
            raise TooManyKeysError
        new = make_key()
        now = await database_now(self.repository.session)
        key = ApiKey(
            owner_id=owner.id,
            name=name,
            prefix=new.prefix,
            digest=new.digest,
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
            created_at=now,
            updated_at=now,
        )
        return await self.repository.add(key), new.text

    async def find(self, key_id: UUID, reach: Reach) -> ApiKey:
        """A key within reach.

        Raises:
            KeyNotFoundError: none, or somebody else's.
        """
        key = await self.repository.reached(key_id, reach)
        if key is None:
            raise KeyNotFoundError(key_id)
        return key

    async def revoke(self, key_id: UUID, reach: Reach) -> None:
        """Delete a key: within a second nobody is let in with it.

        Raises:
            KeyNotFoundError: none, or somebody else's.
        """
        await self.repository.session.delete(await self.find(key_id, reach))
        await self.repository.session.flush()
