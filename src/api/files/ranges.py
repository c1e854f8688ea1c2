"""Parses the Range header of a download: one range of bytes (RFC 9110, section 14). Pure."""

import re
from typing import Final

_SINGLE_RANGE: Final = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII)


class UnsatisfiableRangeError(Exception):
    """The range begins behind the end of the file. It is answered with 416."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the positions of the first byte and of the byte after the last; None: send the whole file.

    A malformed header, or one with several ranges, is ignored, as the RFC allows.

    Raises:
        UnsatisfiableRangeError: the range contains no byte of the file.
    """
    match = _SINGLE_RANGE.fullmatch(header) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        suffix_length = int(match[2])
        if suffix_length == 0 or size == 0:
            raise UnsatisfiableRangeError
        return max(0, size - suffix_length), size
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    if first >= size:
        raise UnsatisfiableRangeError
    return first, min(last, size - 1) + 1
