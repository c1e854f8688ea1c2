"""Large results are sent only with their job, not in lists and events, which would repeat them. Pure."""

from typing import Final

MAX_REPEATED_BYTES: Final = 64 * 1024
"""A result with more bytes as JSON is left out of lists and of `job.succeeded`."""


class Omitted:
    """Stands for the result of a job in a list, if it is too large to be repeated."""


OMITTED: Final = Omitted()
