"""Who is there to run jobs, as an API process remembers it while it accepts jobs."""

import time
from datetime import timedelta
from typing import Final

from headrace.domain.database import Database

ALIVE_WITHIN: Final = timedelta(seconds=20)
_FRESH_SECONDS: Final = 1.0

_SERVING: Final = """
SELECT queues, pipelines FROM workers WHERE last_seen_at > statement_timestamp() - $1::interval
"""

Serving = list[tuple[set[str], set[str]]]


class WorkerDirectory:
    """Asks PostgreSQL at most once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked_at = float("-inf")
        self._serving: Serving = []

    async def serving(self) -> Serving:
        """The (queues, pipelines as `name@version`) of every worker that is alive."""
        now = time.monotonic()
        if now - self._asked_at >= _FRESH_SECONDS:
            rows = await self._database.fetch(_SERVING, ALIVE_WITHIN)
            self._serving = [(set(row["queues"]), set(row["pipelines"])) for row in rows]
            self._asked_at = now
        return self._serving
