"""The backoff of a failed step before its next try. Pure."""

import random
from datetime import timedelta
from typing import Final

_BASE: Final = timedelta(seconds=1)
_CAP: Final = timedelta(minutes=5)
_UNIT: Final = random.SystemRandom()


def ceiling(failures: int) -> timedelta:
    """Return the longest delay after *failures* failed tries (1 or more): 1 s, 2 s, 4 s, ..., 5 min."""
    return min(_BASE * float(2 ** min(failures - 1, 20)), _CAP)


def delay(failures: int, unit: float | None = None) -> timedelta:
    """Return a delay with full jitter: uniform between 0 and the ceiling.

    *unit*, from 0 to 1, replaces the random number. Source: AWS Architecture Blog, "Exponential Backoff
    And Jitter".
    """
    return ceiling(failures) * (_UNIT.random() if unit is None else unit)
