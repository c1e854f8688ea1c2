"""Limits the JSON that callers store with an object, since every list of objects reads it."""

import re
from typing import Any, Final

import msgspec

from headrace.domain.errors import HeadraceError
from headrace.domain.json_values import strip_strings

MAX_JSON_BYTES: Final = 256 * 1024
"""The limit of `params` and of `meta`, each."""

# PostgreSQL returns numbers without exponents: `1e308,` has 6 bytes on its way in and 310 on its way out.
_MAX_GROWTH: Final = 64
_EXPONENT: Final = re.compile(rb"\de[+-]?(\d{2,3})")


class ValueTooLargeError(HeadraceError):
    """JSON that a caller wants to store is too large. *path* is its path in the request."""

    def __init__(self, path: str) -> None:
        name = path.rpartition(".")[2]
        super().__init__(f"{name} has at most {MAX_JSON_BYTES} bytes as JSON, with its numbers written out")
        self.path = path


def is_too_large(encoded: bytes) -> bool:
    """Return whether JSON exceeds `MAX_JSON_BYTES` once its numbers are written out without exponents."""
    size = len(encoded)
    if size <= MAX_JSON_BYTES // _MAX_GROWTH:
        return False
    if size <= MAX_JSON_BYTES and _EXPONENT.search(encoded) is not None:
        size += sum(int(digits) for digits in _EXPONENT.findall(strip_strings(encoded)))
    return size > MAX_JSON_BYTES


def check_size(value: dict[str, Any], path: str) -> None:
    """Check that *value* is small enough to be stored.

    Raises:
        ValueTooLargeError: it is too large.
    """
    if is_too_large(msgspec.json.encode(value)):
        raise ValueTooLargeError(path)
