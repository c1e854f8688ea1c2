"""Sets the tags of a job or a preset."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Table, Uuid, delete, insert, literal, select, text
from uuid_utils.compat import uuid7

from headrace.domain.base import Session
from headrace.domain.tags.errors import TooManyTagsError
from headrace.domain.tags.insert_sql import insert_tags_sql
from headrace.domain.tags.models import Tag

_INSERT_TAGS: Final = text(insert_tags_sql(":owner_id", ":ids", ":names"))


async def set_tags(
    session: Session, links: Table, marked_id: UUID, owner_id: UUID, names: Sequence[str]
) -> None:
    """Replace the tags of the job or preset *marked_id* with *names*, and create those that the owner lacks.

    *links* is `JOB_TAGS` or `PRESET_TAGS`.

    Raises:
        TooManyTagsError: the owner would have too many tags.
    """
    marked = links.c[0]
    await session.execute(delete(links).where(marked == marked_id))
    unique_names = sorted(set(names))
    if not unique_names:
        return
    parameters = {"owner_id": owner_id, "ids": [uuid7() for _ in unique_names], "names": unique_names}
    if not (await session.execute(_INSERT_TAGS, parameters)).scalar_one():
        raise TooManyTagsError
    # The lock skips a tag that another transaction deletes meanwhile; without it the link would break its
    # foreign key.
    tags = (
        select(literal(marked_id, Uuid), Tag.id)
        .where(Tag.owner_id == owner_id, Tag.name.in_(unique_names))
        .order_by(Tag.name)
        .with_for_update(read=True, key_share=True, of=Tag)
    )
    await session.execute(insert(links).from_select([marked.name, "tag_id"], tags))
