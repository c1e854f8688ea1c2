"""The times in the ids of jobs, which begin with that of the submission by the clock of the API. Pure."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

MAX_CLOCK_SKEW: Final = timedelta(minutes=1)
"""The clocks of an API and of PostgreSQL differ by at most so much."""


def first_id_at(moment: datetime) -> UUID:
    """Return the least UUID of version 7 that is made at *moment*."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
