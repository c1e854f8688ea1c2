"""Queries about what owners have stored and submitted, as far as quotas limit it."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from headrace.domain.database import Database
from headrace.domain.quotas.quotas import Quotas, QuotaUsage, StorageQuotaExceededError


def stored_bytes_sql(owner_id: str, limit: str) -> str:
    """Return a query for the bytes of an owner's files; the arguments are placeholders of either style.

    Bytes of deleted files that are not removed yet count as far as they exceed the limit, so that an owner
    who uploads and deletes again and again takes at most twice the limit.
    """
    return f"""
        SELECT (
            SELECT coalesce(sum(size), 0)::bigint FROM files WHERE owner_id = {owner_id}
        ) + greatest((
            SELECT coalesce(sum(size), 0)::bigint FROM blob_removals WHERE owner_id = {owner_id}
        ) - CAST({limit} AS bigint), 0) AS used
    """  # noqa: S608  (placeholders of this code base)


_STORED_BYTES: Final = stored_bytes_sql("$1", "$2")
_JOBS: Final = """
SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) AS unfinished
FROM jobs WHERE owner_id = $1 AND state IN ('queued', 'running')
"""


class OwnerUsage:
    """What an owner uses now. A query runs only for quotas that are set."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def fetch_stored_bytes(self, owner_id: UUID) -> int:
        """Return the bytes of an owner's files."""
        rows = await self._database.fetch(_STORED_BYTES, owner_id, self._quotas.stored_bytes)
        used: int = rows[0]["used"]
        return used

    async def within_quota(self, owner_id: UUID, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the *chunks* of a file as long as its owner may store it.

        Other files may be stored meanwhile, so the quota has to be checked again at the end.

        Raises:
            StorageQuotaExceededError: the file would exceed the quota.
        """
        limit = self._quotas.stored_bytes
        used = await self.fetch_stored_bytes(owner_id) if limit else 0
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if limit and used + size > limit:
                raise StorageQuotaExceededError(used, limit)
            yield chunk

    async def fetch(self, owner_id: UUID) -> dict[str, QuotaUsage]:
        """Return how much an owner uses of the quotas of jobs and of bytes."""
        usage: dict[str, QuotaUsage] = {}
        quotas = self._quotas
        if quotas.limit_jobs:
            jobs = (await self._database.fetch(_JOBS, owner_id))[0]
            if quotas.queued_jobs:
                usage["queued_jobs"] = QuotaUsage(jobs["queued"], quotas.queued_jobs)
            if quotas.running_jobs:
                usage["running_jobs"] = QuotaUsage(jobs["unfinished"], quotas.running_jobs)
        if quotas.stored_bytes:
            stored = await self.fetch_stored_bytes(owner_id)
            usage["stored_bytes"] = QuotaUsage(stored, quotas.stored_bytes)
        return usage
