"""Finds JSON with many number literals that msgspec decodes slowly: up to 60 microseconds for each. Pure."""

from typing import Final

MAX_DEAR_NUMBERS: Final = 16
"""So many of them take about a millisecond."""

_FEW_BYTES: Final = 512
"""Less JSON has at most 85 dear numbers, and is not worth a scan."""

_FORMS: Final = bytes.maketrans(b"123456789.E", b"0000000000e")
_EXPONENT: Final = b"0e000"
_LONG: Final = b"0" * 32


def count_dear_numbers(raw: bytes) -> int:
    """Count literals with an exponent of three digits, or of 32 characters and more, also inside texts.

    The others take less than half a microsecond.
    """
    forms = raw.translate(_FORMS, b"+-")
    return forms.count(_EXPONENT) + forms.count(_LONG)


def has_many_dear_numbers(raw: str | bytes) -> bool:
    """Return whether msgspec could take long to decode *raw*, because of its numbers or texts like them."""
    if len(raw) < _FEW_BYTES:
        return False
    return count_dear_numbers(raw.encode() if isinstance(raw, str) else raw) > MAX_DEAR_NUMBERS
