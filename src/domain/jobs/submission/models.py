"""The tables of jobs that were submitted in the transactions of other programs: see the function `submit`."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, LargeBinary, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column


class TransactionalKey(DefaultBase):
    """The caller's name for one submission, as `IdempotencyKey` for the API.

    A transaction holds its new keys until it ends. In a table of their own, no request waits for them.
    """

    __tablename__ = "transactional_keys"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary)
    job_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)


class TransactionalSubmission(DefaultBase):
    """The jobs of one call, for overviews, with the number of its transaction; *id* is that of the first job.

    The tags become links at the commit: until then nobody waits for a new tag.
    """

    __tablename__ = "transactional_submissions"
    __table_args__ = (Index("ix_transactional_submissions_owner", "owner_id", "transaction_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    job_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    tagged_job_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid), default=None)
    tag_names: Mapped[list[str] | None] = mapped_column(ARRAY(String(64)), default=None)
