"""Reads the jobs of an owner in the order of submission, merged from those in each state. Pure.

The index of an owner's jobs begins with their state. An index of all their jobs in this order would save the
merging, and cost each job three more entries, one for each of its moves.
"""

from collections.abc import Iterable
from typing import Final

from headrace.domain.jobs.states import JobState

NEWEST_FIRST: Final = "ORDER BY created_at DESC, id DESC"


def newest_in_states_sql(states: Iterable[JobState], condition: str, limit: str) -> str:
    """Return a subquery of the newest jobs in *states* for which *condition* holds, *limit* of each.

    If the query around it is sorted by `NEWEST_FIRST` and limited as well, PostgreSQL merges the branches and
    reads no more than *limit* jobs of all of them together.
    """
    branches = (
        f"(SELECT * FROM jobs WHERE state = '{state}' AND {condition} {NEWEST_FIRST} LIMIT {limit})"  # noqa: S608
        for state in states
    )
    return f"({' UNION ALL '.join(branches)}) jobs"
