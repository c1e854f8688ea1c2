"""The use cases of tags: list, create, rename, delete."""

from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session, database_now
from headrace.domain.conflicts import TakenError, translate_unique_violation
from headrace.domain.errors import HeadraceError
from headrace.domain.paging import ListPage
from headrace.domain.tags.errors import MAX_TAGS, TooManyTagsError
from headrace.domain.tags.models import Tag
from headrace.domain.tags.repository import CountedTag, TagFilter, TagRepository

_UNIQUE_NAME: Final = "uq_tags_owner_id"


class TagNotFoundError(HeadraceError):
    """There is no such tag within the caller's reach. A foreign tag looks the same as a missing one."""

    def __init__(self, tag_id: UUID) -> None:
        super().__init__(f"there is no tag {tag_id}")
        self.tag_id = tag_id


class TagTakenError(TakenError):
    """The owner already has a tag with that name."""

    def __init__(self, name: str) -> None:
        super().__init__("$.name", f"there is a tag {name!r} already")


class TagService:
    """Tags of jobs and presets. Methods flush; the caller commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._repository = TagRepository(session)

    async def create(self, owner_id: UUID, name: str) -> CountedTag:
        """Create a tag.

        Raises:
            TagTakenError: the owner already has a tag with that name.
            TooManyTagsError: the owner has as many tags as a user may have.
        """
        if await self._repository.count(owner_id) >= MAX_TAGS:
            raise TooManyTagsError
        now = await database_now(self._session)
        tag = Tag(id=uuid7(), owner_id=owner_id, name=name, created_at=now, updated_at=now)
        async with translate_unique_violation(self._session, _UNIQUE_NAME, TagTakenError(name)):
            self._session.add(tag)
        return CountedTag(tag, 0, 0)

    async def get(self, tag_id: UUID, reach: Reach) -> CountedTag:
        """Return a tag within reach.

        Raises:
            TagNotFoundError: there is no such tag within reach.
        """
        counted = await self._repository.fetch(tag_id, reach)
        if counted is None:
            raise TagNotFoundError(tag_id)
        return counted

    async def get_page(self, reach: Reach, filters: TagFilter) -> ListPage[CountedTag]:
        """Return a page of the tags within reach, and the number of all of them."""
        return await self._repository.fetch_page(reach, filters)

    async def rename(self, tag_id: UUID, reach: Reach, name: str) -> CountedTag:
        """Give a tag another name. Jobs and presets keep it.

        Raises:
            TagNotFoundError: there is no such tag within reach.
            TagTakenError: its owner already has a tag with that name.
        """
        tag = await self._get_locked(tag_id, reach)
        async with translate_unique_violation(self._session, _UNIQUE_NAME, TagTakenError(name)):
            tag.name = name
        return await self.get(tag_id, reach)

    async def delete(self, tag_id: UUID, reach: Reach) -> None:
        """Delete a tag. The jobs and presets that it marks stay.

        Raises:
            TagNotFoundError: there is no such tag within reach.
        """
        await self._repository.delete(await self._get_locked(tag_id, reach))

    async def _get_locked(self, tag_id: UUID, reach: Reach) -> Tag:
        tag = await self._repository.fetch_locked(tag_id, reach)
        if tag is None:
            raise TagNotFoundError(tag_id)
        return tag
