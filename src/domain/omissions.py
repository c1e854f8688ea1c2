"""Large values are left out of lists, which would repeat them: they are sent with their object. Pure."""

from typing import Final

MAX_REPEATED_BYTES: Final = 64 * 1024
"""Larger values, as JSON, are left out of lists, and results also of `job.succeeded`."""

MAX_LISTED_BYTES: Final = 8 * 1024 * 1024
"""The values in a list have so many bytes together, and the outputs of its jobs. Others are left out.

The values of an answer of GraphQL have as many together.
"""


class Omitted:
    """Stands for a value in a list that is too large to be repeated."""


OMITTED: Final = Omitted()
