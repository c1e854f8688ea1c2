"""Queries about users."""

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from domain.accounts.models import User
from domain.base import DATABASE_NOW


class UserRepository(SQLAlchemyAsyncRepository[User]):
    model_type = User

    async def add_if_new(self, username: str) -> User:
        """The user of that name, made when there is none; once, also under a race."""
        await self.session.execute(
            insert(User)
            .values(id=uuid7(), username=username, created_at=DATABASE_NOW, updated_at=DATABASE_NOW)
            .on_conflict_do_nothing(index_elements=["username"])
        )
        return (await self.session.execute(select(User).where(User.username == username))).scalar_one()
