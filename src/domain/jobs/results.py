"""Large results and outputs are sent with their job only: lists and events would repeat them. Pure."""

from typing import Final

MAX_REPEATED_BYTES: Final = 64 * 1024
"""Larger results and outputs, as JSON, are left out of lists of jobs, and results also of `job.succeeded`."""


class Omitted:
    """Stands for a result or an output in a list of jobs that is too large to be repeated."""


OMITTED: Final = Omitted()
