"""Estimates how long decoding a JSON text takes, from the text. Pure.

The decoder cannot be interrupted, and some texts take a thousand times as long as others of their length.
"""

from typing import Final

from headrace.domain.json_limits import JsonRefusedError, outside_strings

EASY_COST: Final = 500.0
"""Work up to this cost, in microseconds, may be done at any time. More takes turns: see `heavy_work.py`."""

MAX_COST: Final = 10_000.0
"""The largest cost of a text that is decoded in one go, and of all slow numbers of a body."""

# Microseconds, as measured on a slow machine. A number is slow for the decoder if it is near the limits of
# floating point, or has more than 19 digits.
_PER_BYTE: Final = 0.003
_PER_CONTAINER: Final = 0.12
_PER_COMMA: Final = 0.02
_PER_QUOTE: Final = 0.03
# Text without slow numbers costs less than this, whatever it contains.
_MAX_PER_BYTE: Final = 0.08
_PER_LARGE_EXPONENT: Final = 20.0
_PER_LONG_DIGITS: Final = 5.0

MAX_TEXT_BYTES: Final = int(MAX_COST / _PER_BYTE)
"""A longer text always costs too much to be decoded in one go."""

_LONG_DIGITS: Final = b"0" * 20
_DIGITS_TO_ZEROS: Final = bytes.maketrans(b"E123456789", b"e000000000")
_DIGITS_TO_ZEROS_AND_ONES: Final = bytes.maketrans(b"E23456789", b"e00000000")
_POINTS_AND_SIGNS: Final = b".+-"
# Exponents up to 199 are fast, except behind so many digits that those count instead.
_LARGE_EXPONENTS: Final = (b"e000", b"e001", b"e010", b"e011")
# Removing the strings from a text with more quotes would take too long.
_MAX_QUOTES: Final = 100_000


class JsonTooCostlyError(JsonRefusedError):
    """A caller's JSON would occupy the decoder for too long."""

    def __init__(self) -> None:
        super().__init__(
            "the body would take too long to decode: send fewer lists, objects and texts in one value,"
            " and write its numbers with at most 17 digits and below 1e200"
        )


def decoding_cost(raw: bytes) -> float:
    """Return an upper bound of the microseconds that decoding the JSON *raw* takes."""
    numbers = _rough_number_cost(raw)
    if len(raw) * _MAX_PER_BYTE + numbers <= EASY_COST:
        return len(raw) * _MAX_PER_BYTE + numbers
    structure = _structure_cost(raw)
    if structure + numbers <= EASY_COST or raw.count(b'"') > _MAX_QUOTES:
        return structure + numbers
    bare = outside_strings(raw)
    in_strings = (len(raw) - len(bare)) * _PER_BYTE + raw.count(b'"') * _PER_QUOTE
    return _structure_cost(bare) + in_strings + _number_cost(bare)


def number_cost(raw: bytes) -> float:
    """Return an upper bound of the microseconds that the slow numbers of the JSON *raw* take."""
    return _number_cost(outside_strings(raw)) if _rough_number_cost(raw) else 0.0


def _structure_cost(raw: bytes) -> float:
    return (
        len(raw) * _PER_BYTE
        + (raw.count(b"[") + raw.count(b"{")) * _PER_CONTAINER
        + raw.count(b",") * _PER_COMMA
        + raw.count(b'"') * _PER_QUOTE
    )


def _rough_number_cost(raw: bytes) -> float:
    """Return the cost of slow numbers as if digits in strings were numbers, and every exponent large."""
    digits = raw.translate(_DIGITS_TO_ZEROS, _POINTS_AND_SIGNS)
    return digits.count(b"e000") * _PER_LARGE_EXPONENT + digits.count(_LONG_DIGITS) * _PER_LONG_DIGITS


def _number_cost(bare: bytes) -> float:
    digits = bare.translate(_DIGITS_TO_ZEROS_AND_ONES, _POINTS_AND_SIGNS)
    large_exponents = sum(map(digits.count, _LARGE_EXPONENTS))
    long_digits = bare.translate(_DIGITS_TO_ZEROS, _POINTS_AND_SIGNS).count(_LONG_DIGITS)
    return large_exponents * _PER_LARGE_EXPONENT + long_digits * _PER_LONG_DIGITS
