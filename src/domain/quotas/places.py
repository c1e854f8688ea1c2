"""Checks quotas in the transaction of a request. The owner stays locked until its commit."""

from typing import Final
from uuid import UUID

from sqlalchemy import text

from headrace.domain.base import Session
from headrace.domain.quotas.quotas import QuotaExceededError, Quotas, StorageQuotaExceededError
from headrace.domain.quotas.usage import stored_bytes_sql

_REFUSED_JOB: Final = text("""
SELECT refused_by, used FROM jobs_beyond_quotas(
    ARRAY[0], ARRAY[CAST(:owner_id AS uuid)], ARRAY[1], ARRAY[CAST(NULL AS text)], :queued, :running
)
""")
_LOCK_OWNER: Final = text("SELECT id FROM users WHERE id = :owner_id FOR NO KEY UPDATE")
_STORED_BYTES: Final = text(stored_bytes_sql(":owner_id", ":limit"))


async def require_place(session: Session, owner_id: UUID, quotas: Quotas) -> None:
    """Check that an owner may have one more job queued.

    Raises:
        QuotaExceededError: a quota of jobs is used up.
    """
    if not quotas.limit_jobs:
        return
    parameters = {"owner_id": owner_id, "queued": quotas.queued_jobs, "running": quotas.running_jobs}
    refusal = (await session.execute(_REFUSED_JOB, parameters)).one_or_none()
    if refusal is not None:
        quota, used = refusal
        raise QuotaExceededError(quota, used, getattr(quotas, quota))


async def require_space(session: Session, owner_id: UUID, size: int, quotas: Quotas) -> None:
    """Check that an owner may store *size* more bytes.

    Raises:
        StorageQuotaExceededError: they would exceed the quota.
    """
    if not quotas.stored_bytes:
        return
    # The next statement sees the files of those that have held the lock before.
    await session.execute(_LOCK_OWNER, {"owner_id": owner_id})
    limit = quotas.stored_bytes
    used = (await session.execute(_STORED_BYTES, {"owner_id": owner_id, "limit": limit})).scalar_one()
    if used + size > limit:
        raise StorageQuotaExceededError(used, limit)
