"""What people do with tags."""

from collections.abc import Sequence
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from uuid_utils.compat import uuid7

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import database_now
from headrace.domain.conflicts import TakenError, translate_unique_violation
from headrace.domain.errors import HeadraceError
from headrace.domain.tags.models import Tag
from headrace.domain.tags.repository import CountedTag, TagRepository


class TagNotFoundError(HeadraceError):
    """There is no such tag, or it is somebody else's: the two look the same."""

    def __init__(self, tag_id: UUID) -> None:
        super().__init__(f"there is no tag {tag_id}")
        self.tag_id = tag_id


class TagTakenError(TakenError):
    """The owner has a tag of that name."""

    def __init__(self, name: str) -> None:
        super().__init__("$.name", f"there is a tag {name!r} already")


class TagService(SQLAlchemyAsyncRepositoryService[Tag, TagRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = TagRepository

    async def find(self, tag_id: UUID, reach: Reach) -> CountedTag:
        """A tag within reach.

        Raises:
            TagNotFoundError: none, or somebody else's.
        """
        found = await self.repository.counted(tag_id, reach)
        if found is None:
            raise TagNotFoundError(tag_id)
        return found

    async def page(
        self, reach: Reach, order_by: str, limit: int, offset: int
    ) -> tuple[Sequence[CountedTag], int]:
        return await self.repository.page(reach, order_by, limit, offset)

    async def add(self, owner_id: UUID, name: str) -> CountedTag:
        """Make a tag.

        Raises:
            TagTakenError: the owner has one of that name.
        """
        now = await database_now(self.repository.session)
        tag = Tag(id=uuid7(), owner_id=owner_id, name=name, created_at=now, updated_at=now)
        async with translate_unique_violation(
            self.repository.session, "uq_tags_owner_id", TagTakenError(name)
        ):
            self.repository.session.add(tag)
        return CountedTag(tag, 0, 0)

    async def rename(self, tag_id: UUID, reach: Reach, name: str) -> CountedTag:
        """Give a tag another name; what it marks stays marked.

        Raises:
            TagNotFoundError: none, or somebody else's.
            TagTakenError: its owner has one of that name.
        """
        tag = await self._reached(tag_id, reach)
        async with translate_unique_violation(
            self.repository.session, "uq_tags_owner_id", TagTakenError(name)
        ):
            tag.name = name
        return await self.find(tag_id, reach)

    async def remove(self, tag_id: UUID, reach: Reach) -> None:
        """Delete a tag; what it marked stays.

        Raises:
            TagNotFoundError: none, or somebody else's.
        """
        await self._reached(tag_id, reach)
        await self.repository.forget(tag_id)

    async def _reached(self, tag_id: UUID, reach: Reach) -> Tag:
        tag = await self.repository.reached(tag_id, reach)
        if tag is None:
            raise TagNotFoundError(tag_id)
        return tag
