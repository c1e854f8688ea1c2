"""Reads how many rows PostgreSQL's planner expects: an estimate of a count that costs no scan."""

from collections.abc import Sequence

import msgspec

from headrace.domain.database import Row


def planned_rows(rows: Sequence[Row]) -> int:
    """Return the number of rows in the answer to `EXPLAIN (FORMAT JSON)` of a query."""
    return rows_of_plan(rows[0]["QUERY PLAN"])


def rows_of_plan(plan: str | bytes) -> int:
    """Return the number of rows that a plan in JSON expects."""
    (explained,) = msgspec.json.decode(plan)
    return int(explained["Plan"]["Plan Rows"])
