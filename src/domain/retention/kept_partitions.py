"""Finds partitions of the event log that are past every term that ends, and the jobs that keep them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.events.partitions import past_partitions
from headrace.domain.retention.pipeline_terms import fetch_pipeline_terms
from headrace.domain.retention.terms import END_STATES, FOREVER, RetentionTerms

_MAX_JOBS: Final = 1_000

_FETCH: Final = """
SELECT (SELECT id FROM jobs WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 1) AS first,
       (SELECT count(*) FROM (SELECT FROM jobs WHERE id >= $1 AND id < $2 LIMIT $3) AS those)::int AS jobs,
       pg_total_relation_size($4::text::regclass) AS bytes
"""


class KeptPartition(Struct, frozen=True):
    """A partition that could be dropped but for some of its *jobs*, of which *first* is the oldest."""

    name: str
    bytes: int
    jobs: int
    first: UUID

    def __str__(self) -> str:
        count = f"{self.jobs} or more" if self.jobs == _MAX_JOBS else str(self.jobs)
        jobs = "1 job that is" if self.jobs == 1 else f"{count} jobs that are"
        size = f"{self.bytes / 1e6:.1f} MB"
        return (
            f"{self.name} ({size}) is past every term that ends and stays: it has events of {jobs}"
            f" pinned, unfinished, kept forever or not pruned yet, such as {self.first}"
        )


async def find_kept_partitions(
    database: Database, terms: RetentionTerms, now: datetime
) -> Sequence[KeptPartition]:
    """Return the partitions with jobs that are past the longest term which has an end.

    There are none if all jobs are kept forever.
    """
    all_terms = [terms.of_state(state) for state in END_STATES]
    for pipeline in await fetch_pipeline_terms(database):
        all_terms += (pipeline.own or {}).values()
    finite = [term for term in all_terms if term != FOREVER]
    if not finite:
        return []
    kept = []
    for partition in await past_partitions(database, now - max(finite)):
        row = (await database.fetch(_FETCH, partition.low, partition.high, _MAX_JOBS, partition.name))[0]
        if row["jobs"]:
            kept.append(KeptPartition(partition.name, row["bytes"], row["jobs"], row["first"]))
    return kept
