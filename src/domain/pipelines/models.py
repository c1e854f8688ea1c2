"""Table of registered pipelines: their graphs and schemas. Their code is only in the workers."""

from typing import Any

from advanced_alchemy.base import UUIDv7AuditBase
from sqlalchemy import CheckConstraint, String, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column


class PipelineVersion(UUIDv7AuditBase):
    """One version of a pipeline, as a worker registered it."""

    __tablename__ = "pipelines"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("version > 0", name="version_from_1"),
    )

    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    description: Mapped[str] = mapped_column(Text, default="")
    graph: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    params_schema: Mapped[dict[str, Any]] = mapped_column(JSONB)
    result_schema: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
