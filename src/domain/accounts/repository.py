"""Queries about users, their keys, and what admins did."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import ColumnElement, func, or_, select

from domain.accounts.models import ApiKey, AuditEntry, User
from domain.accounts.reach import Reach
from domain.base import DATABASE_NOW
from domain.paging import containing


class UserRepository(SQLAlchemyAsyncRepository[User]):
    model_type = User

    async def page(self, search: str | None, limit: int, offset: int) -> tuple[Sequence[User], int]:
        """Users by name, and how many match."""
        matching: list[ColumnElement[bool]] = []
        if search:
            pattern = containing(search)
            matching.append(
                or_(User.username.ilike(pattern, escape="\\"), User.email.ilike(pattern, escape="\\"))
            )
        page = select(User).where(*matching).order_by(User.username, User.id).limit(limit).offset(offset)
        total = select(func.count()).select_from(User).where(*matching)
        users = (await self.session.execute(page)).scalars().all()
        return users, (await self.session.execute(total)).scalar_one()


class ApiKeyRepository(SQLAlchemyAsyncRepository[ApiKey]):
    model_type = ApiKey

    async def reached(self, key_id: UUID, reach: Reach) -> ApiKey | None:
        statement = select(ApiKey).where(ApiKey.id == key_id, *reach.within(ApiKey.owner_id))
        return (await self.session.execute(statement)).scalar_one_or_none()

    async def page(self, owner_id: UUID, limit: int, offset: int) -> tuple[Sequence[ApiKey], int]:
        """The owner's keys, newest first, and how many there are."""
        mine = ApiKey.owner_id == owner_id
        order = (ApiKey.created_at.desc(), ApiKey.id.desc())
        page = select(ApiKey).where(mine).order_by(*order).limit(limit).offset(offset)
        keys = (await self.session.execute(page)).scalars().all()
        return keys, await self.count_of(owner_id)

    async def count_of(self, owner_id: UUID) -> int:
        statement = select(func.count()).select_from(ApiKey).where(ApiKey.owner_id == owner_id)
        return (await self.session.execute(statement)).scalar_one()

    async def now(self) -> datetime:
        moment: datetime = (await self.session.execute(select(DATABASE_NOW))).scalar_one()
        return moment


class AuditRepository(SQLAlchemyAsyncRepository[AuditEntry]):
    model_type = AuditEntry

    async def page(self, limit: int, offset: int) -> tuple[Sequence[AuditEntry], int]:
        """What admins did, newest first, and how much that is."""
        order = (AuditEntry.at.desc(), AuditEntry.id.desc())
        page = select(AuditEntry).order_by(*order).limit(limit).offset(offset)
        total = select(func.count()).select_from(AuditEntry)
        entries = (await self.session.execute(page)).scalars().all()
        return entries, (await self.session.execute(total)).scalar_one()
