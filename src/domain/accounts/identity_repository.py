"""Queries about people and the names under which providers know them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from headrace.domain.accounts.models import Identity, LoginSession, User
from headrace.domain.base import DATABASE_NOW
from headrace.domain.errors import HeadraceError

SESSION_LIFE: Final = timedelta(days=30)


class NoNameLeftError(HeadraceError):
    """Every name that was tried is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no name like {name!r} is left")


class IdentityRepository(SQLAlchemyAsyncRepository[Identity]):
    model_type = Identity

    async def stand_in_line(self, provider: str, subject: str) -> None:
        """Let others who sign in as the same person wait until this transaction ends."""
        line = func.hashtextextended(f"identity {provider} {subject}", 0)
        await self.session.execute(select(func.pg_advisory_xact_lock(line)))

    async def find(self, provider: str, subject: str) -> tuple[Identity, User] | None:
        """Whom the provider knows by that subject."""
        statement = (
            select(Identity, User)
            .join(User, User.id == Identity.user_id)
            .where(Identity.provider == provider, Identity.subject == subject)
        )
        found = (await self.session.execute(statement)).one_or_none()
        return (found[0], found[1]) if found else None

    async def add_user(self, names: Iterable[str]) -> User:
        """A new user with the first of *names* that is free.

        Raises:
            NoNameLeftError: none is.
        """
        name = ""
        for name in names:
            statement = (
                insert(User)
                .values(id=uuid7(), username=name, created_at=DATABASE_NOW, updated_at=DATABASE_NOW)
                .on_conflict_do_nothing(index_elements=["username"])
                .returning(User)
            )
            if (user := (await self.session.execute(statement)).scalar_one_or_none()) is not None:
                return user
        raise NoNameLeftError(name)

    async def rename(self, user: User, names: Iterable[str]) -> None:
        """Give *user* the first of *names* that is free; the old name stays where none is."""
        statement = update(User).where(User.id == user.id).execution_options(synchronize_session=False)
        for name in names:
            try:
                async with self.session.begin_nested():
                    await self.session.execute(statement.values(username=name))
            except IntegrityError:
                continue
            return

    async def begin_session(self, user_id: UUID) -> tuple[UUID, datetime]:
        """A new session, and when it ends at the latest."""
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
        row = (await self.session.execute(statement)).one()
        return row[0], row[1]
