"""Somebody whom a provider knows becomes, or comes back as, a user with a session."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Struct

from headrace.domain.accounts.identity_repository import IdentityRepository
from headrace.domain.accounts.models import Identity, User
from headrace.domain.accounts.profile import Profile, is_name_for, names_for
from headrace.domain.base import DATABASE_NOW


class SignedIn(Struct, frozen=True):
    """A session that has just begun."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime


class IdentityService(SQLAlchemyAsyncRepositoryService[Identity, IdentityRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = IdentityRepository

    async def sign_in(self, provider: str, profile: Profile, tokens: bytes | None) -> SignedIn:
        """Begin a session of the one user whom *provider* knows by that subject, made on first sight.

        Never somebody who merely has the same name or e-mail. *tokens* are the provider's own, encrypted.

        Raises:
            NoNameLeftError: the wished name is taken a dozen times.
        """
        await self.repository.stand_in_line(provider, profile.subject)
        known = await self.repository.find(provider, profile.subject)
        if known is None:
            user = await self.repository.add_user(names_for(profile.username))
            identity = Identity(user_id=user.id, provider=provider, subject=profile.subject)
            self.repository.session.add(identity)
        else:
            identity, user = known
            await self._follow_name(user, profile.username)
        identity.tokens = tokens
        user.email = profile.email
        user.last_login_at = DATABASE_NOW
        await self.repository.session.flush()
        session_id, expires_at = await self.repository.begin_session(user.id)
        return SignedIn(user.id, session_id, expires_at)

    async def _follow_name(self, user: User, wish: str) -> None:
        if not is_name_for(wish, user.username):
            await self.repository.rename(user, names_for(wish))
