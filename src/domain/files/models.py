"""What is known of a file; its bytes lie in the blob store under its id."""

from datetime import datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase, UUIDv7AuditBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from headrace.domain.base import tracked_json


class File(UUIDv7AuditBase):
    """An uploaded input (no job) or something that a step made (job and step).

    The id of the latter is made of job, step and the name under which the step saved it: so a step replaces
    its own file, whatever that is called by now.
    """

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("size >= 0", name="size_not_negative"),
        CheckConstraint("length(sha256) = 32", name="sha256_length"),
        CheckConstraint("(job_id IS NULL) = (step IS NULL)", name="step_with_job"),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), index=True, default=None
    )
    step: Mapped[str | None] = mapped_column(String(80), default=None)
    name: Mapped[str] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(127))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    meta: Mapped[dict[str, Any]] = mapped_column(tracked_json(), default=dict, server_default="{}")


class BlobRemoval(DefaultBase):
    """A file whose row is gone and whose bytes are to go; a trigger writes it, however the row went.

    Not before *at*: a worker that has begun to remove them moves it on.
    """

    __tablename__ = "blob_removals"

    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
