"""Decodes JSON that is stored, in a time that depends on its length only. Pure.

msgspec takes 60 microseconds for a number such as 1e308, and holds Python's lock meanwhile. Where there are
many, Python's own `float` reads them, and the values and errors are those of msgspec.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect

from headrace.domain.dear_numbers import has_many_dear_numbers
from headrace.domain.json_costs import MAX_COST, number_cost
from headrace.domain.pydantic_types import build_decode, build_whole_decode, is_pydantic
from headrace.domain.type_descriptions import WholeType, kinds_within, type_info

Decode = Callable[[str | bytes], Any]

# `msgspec.convert` has no such types, or no longer sees the digits that they keep.
_TEXT_KEEPING: Final = (inspect.DecimalType, inspect.RawType, inspect.CustomType, inspect.ExtType)

_decode: Final = msgspec.json.Decoder().decode
_decode_numbers: Final = msgspec.json.Decoder(float_hook=float).decode


def decode_json(raw: str | bytes) -> Any:
    """Decode JSON without a type.

    Raises:
        msgspec.DecodeError: it is no JSON, or has a number that no float can hold.
    """
    if not has_many_dear_numbers(raw):
        return _decode(raw)
    value = _decode_numbers(raw)
    for path in _infinite_parts(value, "$"):
        raise msgspec.ValidationError(f"Number out of range - at `{path}`")
    return value


def decode_stored(value: Any) -> Any:
    """Return the value of a JSON column, which is a `msgspec.Raw` if it was read from the database."""
    return decode_json(bytes(value)) if isinstance(value, msgspec.Raw) else value


def build_decoder(shape: Any) -> Decode:
    """Return a function that decodes JSON as the type *shape*. JSON that a `msgspec.Raw` keeps is checked.

    Types that keep the digits of numbers are read by msgspec, and only with as many numbers that it reads
    slowly as a request may have: the function raises a `msgspec.DecodeError` for more.
    """
    kind = type_info(shape)
    kinds = kinds_within(kind)
    decode = _build_plain_decode(shape, kinds)
    has_raw = any(isinstance(kind, inspect.RawType) for kind in kinds)
    if any(isinstance(kind, _TEXT_KEEPING) for kind in kinds):

        def decode_digits(raw: str | bytes) -> Any:
            _require_few_slow_numbers(raw)
            if has_raw:
                decode_json(raw)
            return decode(raw)

        return decode_digits

    def decode_as_shape(raw: str | bytes) -> Any:
        if not has_many_dear_numbers(raw):
            return decode(raw)
        return msgspec.convert(decode_json(raw), shape, str_keys=True)

    return decode_as_shape


def _build_plain_decode(shape: Any, kinds: list[inspect.Type]) -> Decode:
    customs = [kind for kind in kinds if isinstance(kind, inspect.CustomType)]
    if any(isinstance(kind, WholeType) for kind in customs):
        return build_whole_decode(shape)
    if any(is_pydantic(kind.cls) for kind in customs):
        return build_decode(shape)
    return msgspec.json.Decoder(shape).decode


def _require_few_slow_numbers(raw: str | bytes) -> None:
    if not has_many_dear_numbers(raw):
        return
    if number_cost(raw.encode() if isinstance(raw, str) else raw) > MAX_COST:
        raise msgspec.DecodeError(
            "beside decimals or raw JSON, too many numbers are beyond 1e200 or have more than 19 digits"
        )


def _infinite_parts(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, float):
        if math.isinf(value):
            yield path
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _infinite_parts(part, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _infinite_parts(part, f"{path}.{key}")
