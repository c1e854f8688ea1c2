"""Workers as chores see them: rows that a heartbeat would keep alive."""

from typing import Final

from headrace.adapters.database import StatementPool

_BEAT: Final = """
INSERT INTO workers (id, queues, pipelines, concurrency, started_at, last_seen_at)
VALUES ($1, '{default}', '{}', 1, statement_timestamp(), statement_timestamp())
ON CONFLICT (id) DO UPDATE SET last_seen_at = excluded.last_seen_at
"""


async def beat(database: StatementPool, worker: str) -> None:
    """Record that *worker* is alive, as its heartbeat does."""
    await database.fetch(_BEAT, worker)
