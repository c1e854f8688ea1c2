"""What the functions in the database need that store jobs in the transactions of other programs."""

from typing import Final

from headrace.domain.database import Database
from headrace.domain.quotas.quotas import Quotas

_STORE_QUOTAS: Final = """
INSERT INTO job_quotas AS q (queued_jobs, running_jobs)
SELECT $1::int, $2::int WHERE $1 > 0 OR $2 > 0 OR EXISTS (SELECT FROM job_quotas)
ON CONFLICT (id) DO UPDATE SET queued_jobs = excluded.queued_jobs, running_jobs = excluded.running_jobs
WHERE (q.queued_jobs, q.running_jobs) <> (excluded.queued_jobs, excluded.running_jobs)
RETURNING q.id
"""
_DELETE_KEYS: Final = """
DELETE FROM transactional_keys WHERE (owner_id, key) IN (
    SELECT owner_id, key FROM transactional_keys
    WHERE created_at < statement_timestamp() - interval '24 hours' FOR UPDATE SKIP LOCKED
)
"""
# The overviews read them within seconds of the commit, which sets the time of a long transaction again.
_DELETE_SUBMISSIONS: Final = """
DELETE FROM transactional_submissions WHERE at < statement_timestamp() - interval '10 minutes'
"""


class TransactionalRepository:
    """Every statement is its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store_quotas(self, quotas: Quotas) -> int:
        """Store the quotas of jobs that this process enforces; return 1 if they have changed."""
        return len(await self._database.fetch(_STORE_QUOTAS, quotas.queued_jobs, quotas.running_jobs))

    async def delete_expired(self) -> None:
        """Delete the keys that are older than 24 hours, and the submissions that all overviews have seen."""
        await self._database.fetch(_DELETE_KEYS)
        await self._database.fetch(_DELETE_SUBMISSIONS)
