"""Finds tables that have become large in an installation that keeps everything."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.installation import keeps_everything
from headrace.domain.retention.terms import KEPT_KINDS, ChosenTerms

LARGE_BYTES: Final = 10 * 1024**3

# The size of a partitioned table is that of its partitions.
_FETCH: Final = """
SELECT name, bytes FROM (
    SELECT name, (pg_total_relation_size(name::regclass) + coalesce((
        SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = name::regclass
    ), 0))::bigint AS bytes
    FROM unnest($1::text[]) AS name
) sizes WHERE bytes >= $2 ORDER BY bytes DESC
"""
_TABLES: Final = ("jobs", "job_changes", "step_runs", "files", "audit_entries")


class LargeTable(Struct, frozen=True):
    """A table that grows without end. The message says what to do."""

    name: str
    bytes: int

    def __str__(self) -> str:
        variables = ", ".join(f"HEADRACE_KEEP_{kind.upper()}" for kind in KEPT_KINDS)
        return (
            f"{self.name} has {self.bytes / 1024**3:.1f} GiB, and this installation keeps everything that no"
            f" setting names: set {variables} to a time, or to forever"
        )


async def find_large_tables(
    database: Database, chosen: ChosenTerms, min_bytes: int = LARGE_BYTES
) -> Sequence[LargeTable]:
    """Return the large tables, the largest first, if nobody has chosen how long their rows are kept."""
    if len(chosen.named) == len(KEPT_KINDS) or not await keeps_everything(database):
        return []
    rows = await database.fetch(_FETCH, list(_TABLES), min_bytes)
    return [LargeTable(row["name"], row["bytes"]) for row in rows]
