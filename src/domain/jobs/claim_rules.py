"""The rules by which jobs are claimed: their order, and how many lost attempts a job may have. Pure."""

from datetime import datetime, timedelta
from typing import Final

from headrace.domain.pipelines.versions import VERSION_KEY_SQL

_PRIORITY_SECONDS: Final = 60

SUSPECT_LOSSES: Final = 2
"""A job that is to blame for this many losses is a suspect: it runs in a worker process of its own."""

MAX_LOSSES: Final = 5
"""A job that is to blame for this many losses in a row, without progress, fails."""

MAX_BLAMELESS_LOSSES: Final = 10
"""From this loss in a row on, without progress, a job is blamed for its losses even without evidence."""

IS_SUSPECT_SQL: Final = f"losses >= {SUSPECT_LOSSES}"

MAY_BE_CLAIMED_SQL: Final = f"state = 'queued' AND losses < {SUSPECT_LOSSES}"
"""The jobs that an ordinary claim takes as soon as they are due."""

HEAD_START_SQL: Final = "(priority * (run_at > created_at)::int)"
"""How many priority levels the due order of a delayed job lies before its `run_at`; 0 for other jobs."""

LANE_KEY_SQL: Final = f"queue, {VERSION_KEY_SQL}, needs_process, {HEAD_START_SQL}"
"""The columns of a lane. The index of claims has its jobs in due order."""

IS_IN_LANE_SQL: Final = f"""{MAY_BE_CLAIMED_SQL}
    AND queue = lane.queue AND {VERSION_KEY_SQL} = lane.version_key
    AND needs_process = lane.needs_process AND {HEAD_START_SQL} = lane.head_start"""
"""The jobs of the row `lane`."""


def due_order(run_at: datetime, created_at: datetime, priority: int) -> datetime:
    """Return the sort key of the claim order: each level of priority counts for a minute of waiting.

    A job waits from its `run_at` on, but not before its submission.
    """
    return max(run_at, created_at) - timedelta(seconds=_PRIORITY_SECONDS * priority)


def due_order_sql(run_at: str = "run_at", created_at: str = "created_at", priority: str = "priority") -> str:
    """Return `due_order` as an SQL expression of three others."""
    return f"greatest({run_at}, {created_at}) - {_levels_sql(priority)}"


def due_order_check_sql() -> str:
    """Return the rule that the table of jobs checks, as an SQL expression.

    Besides `due_order` it accepts what the previous release stores, which counts from `run_at` even if that
    lies before the submission. Its processes go on until they are restarted.
    """
    return f"due_order BETWEEN run_at - {_levels_sql('priority')} AND {due_order_sql()}"


def last_due_order_sql(head_start: str) -> str:
    """Return the due order up to which jobs with this head start are due, as an SQL expression."""
    return f"statement_timestamp() - {_levels_sql(head_start)}"


def _levels_sql(count: str) -> str:
    """Return the waiting time that *count* levels of priority are worth, as an SQL expression."""
    return f"{count} * interval '{_PRIORITY_SECONDS} seconds'"
