"""What the functions in the database need that store jobs in the transactions of other programs."""

from datetime import timedelta
from typing import Final

from headrace.domain.database import Database
from headrace.domain.quotas.quotas import Quotas
from headrace.domain.retention.expiry import Expiry

_STORE_QUOTAS: Final = """
INSERT INTO job_quotas AS q (queued_jobs, running_jobs)
SELECT $1::int, $2::int WHERE $1 > 0 OR $2 > 0 OR EXISTS (SELECT FROM job_quotas)
ON CONFLICT (id) DO UPDATE SET queued_jobs = excluded.queued_jobs, running_jobs = excluded.running_jobs
WHERE (q.queued_jobs, q.running_jobs) <> (excluded.queued_jobs, excluded.running_jobs)
RETURNING q.id
"""
TRANSACTIONAL_KEY_EXPIRY: Final = Expiry("transactional_keys", "created_at", timedelta(hours=24))
# The overviews read them within seconds of the commit, which sets the time of a long transaction again.
SUBMISSION_EXPIRY: Final = Expiry("transactional_submissions", "at", timedelta(minutes=10))


class TransactionalRepository:
    """Every statement is its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store_quotas(self, quotas: Quotas) -> int:
        """Store the quotas of jobs that this process enforces; return 1 if they have changed."""
        return len(await self._database.fetch(_STORE_QUOTAS, quotas.queued_jobs, quotas.running_jobs))
