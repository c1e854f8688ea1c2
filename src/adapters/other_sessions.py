"""Counts the connections of running processes of the service, because those of an API have no row."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from headrace.domain.database import Database

OTHER_SESSIONS: Final = """
SELECT count(*) AS sessions FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND application_name = current_setting('application_name')
"""
"""Counts those of all installations in the database, which all have the same name."""

# PostgreSQL lists a session for a moment after its process has ended.
_CHECKS: Final = 30
_PAUSE_SECONDS: Final = 0.1


async def count_other_sessions(database: Database) -> int:
    """Return how many other sessions have the name of this one."""
    (row,) = await database.fetch(OTHER_SESSIONS)
    return int(row["sessions"])


async def count_lasting(count_sessions: Callable[[], Awaitable[int]]) -> int:
    """Return how many sessions are left after 3 s; 0 as soon as there are none."""
    for _ in range(_CHECKS):
        if not await count_sessions():
            return 0
        await asyncio.sleep(_PAUSE_SECONDS)
    return await count_sessions()
