"""Checks the times in requests: they have an offset, and are in a range that PostgreSQL and Python share."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from litestar.params import QueryParameter

from headrace.api.errors import InvalidInputError

TimestampText = Annotated[str | None, QueryParameter(format="date-time", max_length=64)]

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def check_timestamp(timestamp: datetime | None, path: str) -> datetime | None:
    """Return *timestamp*, which stands at *path* in the request.

    Raises:
        InvalidInputError: it has no offset, or is out of range.
    """
    if timestamp is not None and timestamp.tzinfo is None:
        raise InvalidInputError(path, "the time has no offset; write it like 2026-11-21T10:00:00Z")
    if timestamp is not None and not _EARLIEST.timestamp() <= timestamp.timestamp() <= _LATEST.timestamp():
        raise InvalidInputError(path, "the time is between the years 2000 and 2200")
    return timestamp


def parse_timestamp(text: str | None, path: str) -> datetime | None:
    """Parse the timestamp of a filter. One out of range becomes the nearest in range: it selects the same.

    Raises:
        InvalidInputError: the text is not a timestamp, or has no offset.
    """
    if text is None:
        return None
    try:
        timestamp = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise InvalidInputError(path, "write the time like 2026-11-21T10:00:00Z") from error
    if timestamp.tzinfo is not None:
        timestamp = min(max(timestamp, _EARLIEST), _LATEST)
    return check_timestamp(timestamp, path)
