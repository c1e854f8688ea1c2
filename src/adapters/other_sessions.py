"""Counts the connections of running processes of the service, because those of an API have no row."""

from typing import Final

from headrace.domain.database import Database

OTHER_SESSIONS: Final = """
SELECT count(*) AS sessions FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND application_name = current_setting('application_name')
"""
"""Counts those of all installations in the database, which all have the same name."""


async def count_other_sessions(database: Database) -> int:
    """Return how many other sessions have the name of this one."""
    (row,) = await database.fetch(OTHER_SESSIONS)
    return int(row["sessions"])
