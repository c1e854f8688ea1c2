"""Moments in requests: with an offset, and such as PostgreSQL and Python agree on."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from litestar.params import QueryParameter

from headrace.api.errors import InvalidInputError

MomentText = Annotated[str | None, QueryParameter(format="date-time", max_length=64)]

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


def moment_of(text: str | None, path: str) -> datetime | None:
    """The moment that a filter is written with; beyond what is stored it is as good as the nearest there.

    Raises:
        InvalidInputError: it is no moment, or has no offset.
    """
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise InvalidInputError(path, "write the time like 2026-11-21T10:00:00Z") from error
    if moment.tzinfo is not None:
        moment = min(max(moment, _EARLIEST), _LATEST)
    return sane(moment, path)
