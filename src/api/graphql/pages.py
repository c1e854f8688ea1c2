"""How much of a list one query may ask for."""

from typing import Final

from headrace.api.errors import InvalidInputError

MOST: Final = 100
# By default: of a list of the query itself, and of each list below another.
SOME: Final = 50
FEW: Final = 20


def check_limit(limit: int) -> int:
    """Return *limit* when it is one.

    Raises:
        InvalidInputError: it is none.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInputError("limit", f"limit is between 1 and {MOST}")
    return limit


def check_offset(offset: int) -> int:
    """Return *offset* when it is one.

    Raises:
        InvalidInputError: it is none.
    """
    if offset < 0:
        raise InvalidInputError("offset", "offset is at least 0")
    return offset
