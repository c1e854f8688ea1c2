"""Who uses the service."""

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from domain.accounts.models import User
from domain.accounts.repository import UserRepository


class UserService(SQLAlchemyAsyncRepositoryService[User, UserRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = UserRepository

    async def ensure(self, username: str) -> User:
        """The user of that name; made on first sight."""
        return await self.repository.add_if_new(username)
