"""Table of registered pipelines: their graphs and schemas. Their code is only in the workers."""

from datetime import datetime
from typing import Any

from advanced_alchemy.base import UUIDv7AuditBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import CheckConstraint, String, Text, UniqueConstraint, any_, cast, exists
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, column_property, mapped_column

from headrace.domain.base import DATABASE_NOW
from headrace.domain.workers.directory import ALIVE_WITHIN
from headrace.domain.workers.models import WorkerProcess


class PipelineVersion(UUIDv7AuditBase):
    """One version of a pipeline, as a worker registered it.

    *types* has the schemas of outputs and items. *superseded* names the definitions that this one replaced,
    and *confirmed_at* is when a worker last said that it serves exactly this one: see `registry`. *keep*: how
    long its jobs are kept, see `retention.terms`; None: as the settings say.
    A removed version stays for the jobs of the past, but is not listed and takes no jobs.
    """

    __tablename__ = "pipelines"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("version > 0", name="version_from_1"),
    )

    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column()
    description: Mapped[str] = mapped_column(Text, default="")
    graph: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    params_schema: Mapped[dict[str, Any]] = mapped_column(JSONB)
    result_schema: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
    types: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
    keep: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), default=None)
    superseded: Mapped[list[str]] = mapped_column(ARRAY(String(64)), default=list, server_default="{}")
    confirmed_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), server_default=DATABASE_NOW)
    removed_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    # Whether a live worker serves the version: loaded with every row.
    served: Mapped[bool] = column_property(
        exists().where(
            WorkerProcess.last_seen_at > DATABASE_NOW - ALIVE_WITHIN,
            name + "@" + cast(version, String) == any_(WorkerProcess.pipelines),
        )
    )
