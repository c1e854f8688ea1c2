"""Moments in requests: with an offset, and such as PostgreSQL and Python agree on."""

from datetime import UTC, datetime
from typing import Final

from api.problems import InvalidInputError

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def sane(moment: datetime | None, path: str) -> datetime | None:
    """Return *moment*, which stands at *path*.

    Raises:
        InvalidInputError: it has no offset, or is out of range.
    """
    if moment is not None and moment.tzinfo is None:
        raise InvalidInputError(path, "the time has no offset; write it like 2026-11-21T10:00:00Z")
    if moment is not None and not _EARLIEST.timestamp() <= moment.timestamp() <= _LATEST.timestamp():
        raise InvalidInputError(path, "the time is between the years 2000 and 2200")
    return moment
