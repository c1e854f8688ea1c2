"""How much JSON a caller may leave with an object: every list of such objects is read with it."""

import re
from typing import Any, Final

import msgspec

from headrace.domain.errors import HeadraceError
from headrace.domain.json_values import strip_strings

MAX_JSON_BYTES: Final = 256 * 1024
"""Of `params` and of `meta`, each."""

# PostgreSQL gives numbers back written out: `1e308,` has 6 bytes when it comes and 310 when it goes.
_LONGEST_GROWTH: Final = 64
_EXPONENT: Final = re.compile(rb"\de[+-]?(\d{2,3})")


class ValueTooLargeError(HeadraceError):
    """JSON that is to be kept with an object is too large. *path* is where in a request it stands."""

    def __init__(self, path: str) -> None:
        name = path.rpartition(".")[2]
        super().__init__(f"{name} has at most {MAX_JSON_BYTES} bytes as JSON, with its numbers written out")
        self.path = path


def is_too_large(encoded: bytes) -> bool:
    """Whether JSON has more than `MAX_JSON_BYTES`, its numbers written out without exponents."""
    size = len(encoded)
    if size <= MAX_JSON_BYTES // _LONGEST_GROWTH:
        return False
    if size <= MAX_JSON_BYTES and _EXPONENT.search(encoded) is not None:
        size += sum(int(digits) for digits in _EXPONENT.findall(strip_strings(encoded)))
    return size > MAX_JSON_BYTES


def check_size(value: dict[str, Any], path: str) -> None:
    """Refuse *value* when it is too large to be kept.

    Raises:
        ValueTooLargeError: it is.
    """
    if is_too_large(msgspec.json.encode(value)):
        raise ValueTooLargeError(path)
