"""Between a step's values and the JSON that is stored of them."""

from typing import Any, Final

import msgspec

from domain.errors import HeadraceError
from domain.json_values import has_nul

_ESCAPED_NUL: Final = "\\u0000"


class OutputError(HeadraceError):
    """What a step returned cannot be stored; no retry mends that."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def said_by(error: BaseException) -> str:
    """What an error of a user's says, whatever its class makes of `str`."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (a broken `__str__` is the user's, too)
        return "(its text cannot be had)"


def encode_value(value: Any, what: str, limit: int) -> str:
    """*value* as JSON that PostgreSQL can keep.

    Raises:
        OutputError: `output_invalid` (no JSON, a NUL character), `output_too_large` (over *limit* bytes).
    """
    try:
        encoded = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise OutputError("output_invalid", f"{what} cannot be stored as JSON: {error}") from error
    if len(encoded) > limit:
        raise OutputError(
            "output_too_large",
            f"{what} has {len(encoded)} bytes as JSON, at most {limit} are stored; save a file instead",
        )
    if _ESCAPED_NUL in encoded and has_nul(msgspec.json.decode(encoded)):
        raise OutputError("output_invalid", f"{what} holds a NUL character, which cannot be stored")
    return encoded
