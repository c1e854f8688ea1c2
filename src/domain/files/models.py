"""Tables of files. The bytes are in the blob store, under the file's id."""

from datetime import datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase, UUIDv7AuditBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column


class File(UUIDv7AuditBase):
    """An uploaded input (without a job), or an output of a step (with a job and a step).

    The id of an output is derived from the job, the step and the name under which the step saved it. So a
    step that runs again replaces its own file, even after a rename.
    """

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("size >= 0", name="size_not_negative"),
        CheckConstraint("length(sha256) = 32", name="sha256_length"),
        CheckConstraint("(job_id IS NULL) = (step IS NULL)", name="step_with_job"),
        Index("ix_files_owner_size", "owner_id", postgresql_include=["size"]),
        Index("ix_files_newest", text("created_at DESC"), text("id DESC")),
        Index("ix_files_owner_newest", "owner_id", text("created_at DESC"), text("id DESC")),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    job_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), index=True, default=None
    )
    step: Mapped[str | None] = mapped_column(String(80), default=None)
    name: Mapped[str] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(127))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    blob_key: Mapped[UUID]
    meta: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")


class BlobRemoval(DefaultBase):
    """A file with bytes that no row names any more. A trigger inserts it if a row is deleted or names others.

    The bytes are not removed before *at*; a worker that begins to remove them moves *at* into the future.
    Until then *size* bytes count for *owner_id*; None: they count for nobody.
    """

    __tablename__ = "blob_removals"
    __table_args__ = (Index("ix_blob_removals_owner", "owner_id", postgresql_include=["size"]),)

    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    owner_id: Mapped[UUID | None] = mapped_column(default=None)
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
