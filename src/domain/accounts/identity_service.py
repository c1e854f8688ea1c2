"""Signs in the user behind an identity at a provider."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from headrace.domain.accounts.identity_repository import IdentityRepository
from headrace.domain.accounts.models import Identity, User
from headrace.domain.accounts.profile import Profile, is_name_for, names_for
from headrace.domain.base import DATABASE_NOW, Session


class SignedIn(Struct, frozen=True):
    """A session that has just begun."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime


class IdentityService:
    """Sign-in by an identity at a provider. The method flushes; the caller commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._repository = IdentityRepository(session)

    async def sign_in(self, provider: str, profile: Profile, tokens: bytes | None) -> SignedIn:
        """Begin a session of the user whom *provider* knows by the profile's subject.

        The first sign-in creates the user. A user with the same name or e-mail is never taken over. *tokens*
        are the provider's own, encrypted.

        Raises:
            NoNameLeftError: the wished name and its numbered variants are taken.
        """
        await self._repository.lock(provider, profile.subject)
        row = await self._repository.fetch(provider, profile.subject)
        if row is None:
            user = await self._repository.insert_user(names_for(profile.username))
            identity = Identity(user_id=user.id, provider=provider, subject=profile.subject)
            self._session.add(identity)
        else:
            identity, user = row
            await self._follow_rename(user, profile.username)
        identity.tokens = tokens
        user.email = profile.email
        user.last_login_at = DATABASE_NOW
        await self._session.flush()
        session_id, expires_at = await self._repository.insert_session(user.id)
        return SignedIn(user.id, session_id, expires_at)

    async def _follow_rename(self, user: User, wish: str) -> None:
        if not is_name_for(wish, user.username):
            await self._repository.rename_user(user, names_for(wish))
