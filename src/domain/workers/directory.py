"""The live workers and what they serve, cached by an API process while it accepts jobs."""

from datetime import timedelta
from typing import Final

from headrace.domain.database import Database
from headrace.domain.ttl_cache import TtlCache

ALIVE_WITHIN: Final = timedelta(seconds=20)
_TTL_SECONDS: Final = 1.0
_KEY: Final = "serving"

_SERVING: Final = """
SELECT queues, pipelines FROM workers WHERE last_seen_at > statement_timestamp() - $1::interval
"""

Serving = list[tuple[set[str], set[str]]]
"""For each worker its queues, and its pipelines as `name@version`."""


class WorkerDirectory:
    """Queries PostgreSQL at most once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: TtlCache[str, Serving] = TtlCache(ttl_seconds=_TTL_SECONDS, max_entries=1)

    async def fetch_serving(self) -> Serving:
        """Return what every worker serves that was seen within `ALIVE_WITHIN`."""
        cached = self._cache.get(_KEY)
        if cached is not None:
            return cached
        as_of = self._cache.now()
        rows = await self._database.fetch(_SERVING, ALIVE_WITHIN)
        serving = [(set(row["queues"]), set(row["pipelines"])) for row in rows]
        self._cache.put(_KEY, serving, as_of=as_of)
        return serving
