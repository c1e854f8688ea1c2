"""The live workers and what they serve, cached by an API process while it accepts jobs."""

from datetime import timedelta
from typing import Final

from headrace.domain.database import Database
from headrace.domain.jobs.waiting import ServingWorker
from headrace.domain.ttl_cache import TtlCache

ALIVE_WITHIN: Final = timedelta(seconds=20)
MAX_RUNNING: Final = 100_000
"""So many running jobs are read. The slots of the workers bound their number."""
_TTL_SECONDS: Final = 1.0
_KEY: Final = "serving"

SERVING_SQL: Final = """
SELECT queues, pipelines, concurrency,
    (SELECT count(*) FROM jobs WHERE state = 'running' AND lease_owner = workers.id) AS running
FROM workers WHERE last_seen_at > statement_timestamp() - $1::interval
"""


class WorkerDirectory:
    """Queries PostgreSQL at most once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: TtlCache[str, list[ServingWorker]] = TtlCache(ttl_seconds=_TTL_SECONDS, max_entries=1)

    async def fetch_serving(self) -> list[ServingWorker]:
        """Return every worker that was seen within `ALIVE_WITHIN`."""
        cached = self._cache.get(_KEY)
        if cached is not None:
            return cached
        as_of = self._cache.now()
        rows = await self._database.fetch(SERVING_SQL, ALIVE_WITHIN)
        serving = [
            ServingWorker(set(row["queues"]), set(row["pipelines"]), row["running"], row["concurrency"])
            for row in rows
        ]
        self._cache.put(_KEY, serving, as_of=as_of)
        return serving
