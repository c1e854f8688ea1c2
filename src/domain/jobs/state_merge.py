"""Reads the jobs of an owner in the order of submission, merged from those in each state. Pure.

The index of an owner's jobs begins with their state. An index of all their jobs in this order would save the
merging, and cost each job three more entries, one for each of its moves.
"""

import itertools
from collections.abc import Iterable
from typing import Final

from headrace.domain.jobs.states import JobState

NEWEST_FIRST: Final = "ORDER BY created_at DESC, id DESC"

_NAMES: Final = sorted(JobState)
_GAPS: Final = " OR ".join(
    f"state > '{before}' AND state < '{after}'" for before, after in itertools.pairwise(_NAMES)
)
IS_OF_NEWER_RELEASE_SQL: Final = f"(state < '{_NAMES[0]}' OR {_GAPS} OR state > '{_NAMES[-1]}')"
"""The jobs in states that only a newer release knows. The index finds them between the known states."""


def newest_in_states_sql(states: Iterable[JobState], condition: str, limit: str) -> str:
    """Return a subquery of the newest jobs in *states* for which *condition* holds, *limit* of each.

    Without *states* it has the jobs in all of them, also in those of a newer release. If the query around it
    is sorted by `NEWEST_FIRST` and limited as well, PostgreSQL merges the branches and reads no more than
    *limit* jobs of all of them together.
    """
    chosen = list(states)
    of_states = [f"state = '{state}'" for state in chosen or JobState]
    branches = (
        f"(SELECT * FROM jobs WHERE {of_state} AND {condition} {NEWEST_FIRST} LIMIT {limit})"  # noqa: S608
        for of_state in (of_states if chosen else [*of_states, IS_OF_NEWER_RELEASE_SQL])
    )
    return f"({' UNION ALL '.join(branches)}) jobs"
