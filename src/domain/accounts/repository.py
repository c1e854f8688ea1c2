"""Queries about users, their keys, and what admins did."""

from collections.abc import Sequence
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import ColumnElement, func, or_, select, update

from headrace.domain.accounts.models import ApiKey, AuditEntry, LoginSession, User
from headrace.domain.accounts.reach import Reach
from headrace.domain.base import DATABASE_NOW
from headrace.domain.paging import fetch_objects, substring_pattern


class UserRepository(SQLAlchemyAsyncRepository[User]):
    model_type = User

    async def page(self, search: str | None, limit: int, offset: int) -> tuple[Sequence[User], int]:
        """Users by name, and how many match."""
        matching: list[ColumnElement[bool]] = []
        if search:
            pattern = substring_pattern(search)
            matching.append(
                or_(User.username.ilike(pattern, escape="\\"), User.email.ilike(pattern, escape="\\"))
            )
        order = (User.username.asc(), User.id.asc())
        found = select(User).where(*matching)
        return await fetch_objects(self.session, found, order=order, limit=limit, offset=offset)

    async def end_sessions(self, user_id: UUID) -> None:
        """Revoke all sessions of a user; those that are over stay as they are."""
        going_on = (LoginSession.user_id == user_id, LoginSession.revoked_at.is_(None))
        ended = {"revoked_at": DATABASE_NOW, "updated_at": DATABASE_NOW}
        await self.session.execute(update(LoginSession).where(*going_on).values(ended))


class ApiKeyRepository(SQLAlchemyAsyncRepository[ApiKey]):
    model_type = ApiKey

    async def reached(self, key_id: UUID, reach: Reach) -> ApiKey | None:
        statement = select(ApiKey).where(ApiKey.id == key_id, *reach.within(ApiKey.owner_id))
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def page(
        self, reach: Reach, owner_id: UUID, limit: int, offset: int
    ) -> tuple[Sequence[ApiKey], int]:
        """The owner's keys within reach, newest first, and how many there are."""
        matching = (ApiKey.owner_id == owner_id, *reach.within(ApiKey.owner_id))
        order = (ApiKey.created_at.desc(), ApiKey.id.desc())
        found = select(ApiKey).where(*matching)
        return await fetch_objects(self.session, found, order=order, limit=limit, offset=offset)

    async def lock_owner(self, owner_id: UUID) -> None:
        """Let nobody else make keys of that owner until the transaction ends."""
        # Not FOR UPDATE: that would hold up whatever refers to the user, every submission.
        statement = select(User.id).where(User.id == owner_id).with_for_update(key_share=True)
        await self.session.execute(statement)

    async def count_of(self, owner_id: UUID) -> int:
        statement = select(func.count()).select_from(ApiKey).where(ApiKey.owner_id == owner_id)
        return (await self.session.execute(statement)).scalar_one()


class AuditRepository(SQLAlchemyAsyncRepository[AuditEntry]):
    model_type = AuditEntry

    async def page(self, limit: int, offset: int) -> tuple[Sequence[AuditEntry], int]:
        """What admins did, newest first, and how much that is."""
        order = (AuditEntry.at.desc(), AuditEntry.id.desc())
        return await fetch_objects(self.session, select(AuditEntry), order=order, limit=limit, offset=offset)
