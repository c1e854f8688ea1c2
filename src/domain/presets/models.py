"""Table of presets: saved parameters of pipelines."""

from typing import Any
from uuid import UUID

from advanced_alchemy.base import UUIDv7AuditBase
from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column, relationship

from headrace.domain.tags.models import PRESET_TAGS, Tag


class Preset(UUIDv7AuditBase):
    """Parameters of a pipeline that an owner saved under a title."""

    __tablename__ = "presets"
    __table_args__ = (
        UniqueConstraint("owner_id", "title"),
        CheckConstraint("length(title) > 0", name="title_not_empty"),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(String(1000), default=None)
    pipeline: Mapped[str] = mapped_column(String(64))
    params: Mapped[dict[str, Any]] = mapped_column(JSON)

    tags: Mapped[list[Tag]] = relationship(
        secondary=PRESET_TAGS, lazy="raise", order_by=Tag.name, passive_deletes=True
    )
