"""The Range header of a download: one range of bytes (RFC 9110, section 14). Pure."""

import re
from typing import Final

_ONE: Final = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII)


class UnsatisfiableRangeError(Exception):
    """The range begins behind the end; answered with 416."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None: send everything.

    A header that is malformed or asks for several ranges is ignored, as the RFC allows.

    Raises:
        UnsatisfiableRangeError: nothing of the file is in the range.
    """
    match = _ONE.fullmatch(header) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        wanted = int(match[2])
        if wanted == 0 or size == 0:
            raise UnsatisfiableRangeError
        return max(0, size - wanted), size
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    if first >= size:
        raise UnsatisfiableRangeError
    return first, min(last, size - 1) + 1
