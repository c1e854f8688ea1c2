"""Tables of tags, and of their links to jobs and presets."""

from uuid import UUID

from advanced_alchemy.base import UUIDv7AuditBase
from sqlalchemy import Column, ForeignKey, String, Table, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headrace.domain.base import METADATA


class Tag(UUIDv7AuditBase):
    """A name that an owner gives to jobs and presets. Deleting it deletes only the links."""

    __tablename__ = "tags"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(64))


JOB_TAGS = Table(
    "job_tags",
    METADATA,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True, index=True),
)

PRESET_TAGS = Table(
    "preset_tags",
    METADATA,
    Column("preset_id", ForeignKey("presets.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True, index=True),
)
