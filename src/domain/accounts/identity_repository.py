"""Queries that turn an identity at a provider into a user with a session."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from headrace.domain.accounts.models import Identity, LoginSession, User
from headrace.domain.base import DATABASE_NOW, Session
from headrace.domain.errors import HeadraceError

SESSION_LIFE: Final = timedelta(days=30)
MAX_SESSIONS: Final = 100


class NoNameLeftError(HeadraceError):
    """Every username that was tried is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no name like {name!r} is left")


class IdentityRepository:
    """Identities, and the users and sessions that signing in creates."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def lock(self, provider: str, subject: str) -> None:
        """Make other sign-ins of the same identity wait until this transaction ends."""
        identity = func.concat(func.current_schema(), f" identity {provider} {subject}")
        key = func.hashtextextended(identity, 0)
        await self._session.execute(select(func.pg_advisory_xact_lock(key)))

    async def fetch(self, provider: str, subject: str) -> tuple[Identity, User] | None:
        """Fetch an identity with its user."""
        statement = (
            select(Identity, User)
            .join(User, User.id == Identity.user_id)
            .where(Identity.provider == provider, Identity.subject == subject)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return (row[0], row[1]) if row else None

    async def insert_user(self, names: Iterable[str]) -> User:
        """Insert a user with the first of *names* that is free.

        Raises:
            NoNameLeftError: all of them are taken.
        """
        name = ""
        for name in names:
            statement = (
                insert(User)
                .values(id=uuid7(), username=name, created_at=DATABASE_NOW, updated_at=DATABASE_NOW)
                .on_conflict_do_nothing(index_elements=["username"])
                .returning(User)
            )
            if (user := (await self._session.execute(statement)).scalar_one_or_none()) is not None:
                return user
        raise NoNameLeftError(name)

    async def rename_user(self, user: User, names: Iterable[str]) -> None:
        """Give *user* the first of *names* that is free. The old name stays where all are taken."""
        statement = update(User).where(User.id == user.id).execution_options(synchronize_session=False)
        for name in names:
            try:
                async with self._session.begin_nested():
                    await self._session.execute(statement.values(username=name))
            except IntegrityError:
                continue
            return

    async def insert_session(self, user_id: UUID) -> tuple[UUID, datetime]:
        """Insert a session. Return its id and the time at which it ends at the latest.

        A user has at most 100 sessions: the oldest ones end.
        """
        newest = (
            select(LoginSession.id)
            .where(LoginSession.user_id == user_id)
            .order_by(LoginSession.created_at.desc(), LoginSession.id.desc())
            .limit(MAX_SESSIONS - 1)
        )
        await self._session.execute(
            delete(LoginSession)
            .where(LoginSession.user_id == user_id, LoginSession.id.not_in(newest))
            .execution_options(synchronize_session=False)
        )
        statement = (
            insert(LoginSession)
            .values(
                id=uuid7(),
                user_id=user_id,
                generation=0,
                expires_at=DATABASE_NOW + SESSION_LIFE,
                created_at=DATABASE_NOW,
                updated_at=DATABASE_NOW,
            )
            .returning(LoginSession.id, LoginSession.expires_at)
        )
        row = (await self._session.execute(statement)).one()
        return row[0], row[1]
