"""The limit and offset of lists in a query."""

from typing import Final

from headrace.api.errors import InvalidInputError

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 50
# The default for a list inside the items of another list.
DEFAULT_NESTED_LIMIT: Final = 20


def check_limit(limit: int) -> int:
    """Return *limit* if it is in range.

    Raises:
        InvalidInputError: it is out of range.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInputError("limit", f"limit is between 1 and {MAX_LIMIT}")
    return limit


def check_offset(offset: int) -> int:
    """Return *offset* if it is not negative.

    Raises:
        InvalidInputError: it is negative.
    """
    if offset < 0:
        raise InvalidInputError("offset", "offset is at least 0")
    return offset
