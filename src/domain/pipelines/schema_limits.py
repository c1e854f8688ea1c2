"""Compares the limits of two JSON Schemas: those of numbers, texts, bytes, lists and dictionaries. Pure."""

from collections.abc import Iterator
from typing import Final

from headrace.domain.pipelines.schema_texts import Schema, as_json, was_and_is
from headrace.domain.pipelines.value_schemas import MAX_BYTES, MIN_BYTES

_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum")
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum")
_SMALLEST_SIZES: Final = ("minItems", "minLength", "minProperties", MIN_BYTES)
_LARGEST_SIZES: Final = ("maxItems", "maxLength", "maxProperties", MAX_BYTES)
# Of bytes, the length of their base64 follows from their own.
_BASE64_LENGTHS: Final = {"minLength": MIN_BYTES, "maxLength": MAX_BYTES}

LIMITS: Final = frozenset({"multipleOf", *_LOWER_BOUNDS, *_UPPER_BOUNDS, *_SMALLEST_SIZES, *_LARGEST_SIZES})
"""The keywords that are compared here."""


def compare_limits(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """Yield each limit of *new* that refuses values which *old* accepts."""
    if _limit(new, _LOWER_BOUNDS) > _limit(old, _LOWER_BOUNDS):
        yield f"{path}: had {_bound_text(old, _LOWER_BOUNDS)}, has {_bound_text(new, _LOWER_BOUNDS)}"
    if _limit(new, _UPPER_BOUNDS, sign=-1) > _limit(old, _UPPER_BOUNDS, sign=-1):
        yield f"{path}: had {_bound_text(old, _UPPER_BOUNDS)}, has {_bound_text(new, _UPPER_BOUNDS)}"
    for key in (*_SMALLEST_SIZES, *_LARGEST_SIZES):
        size, new_size = old.get(key), new.get(key)
        if new_size is None or _BASE64_LENGTHS.get(key) in new:
            continue
        is_narrower = new_size > (size or 0) if key in _SMALLEST_SIZES else size is None or new_size < size
        if is_narrower:
            yield f"{path}: {was_and_is(key, size, new_size)}"
    factor, new_factor = old.get("multipleOf"), new.get("multipleOf")
    if new_factor is not None and factor != new_factor:
        are_whole = isinstance(factor, int) and isinstance(new_factor, int)
        if not are_whole or factor % new_factor != 0:
            yield f"{path}: {was_and_is('multipleOf', factor, new_factor)}"


def _limit(schema: Schema, keys: tuple[str, str], *, sign: int = 1) -> tuple[float, bool]:
    """Return the strictest of two bounds. Of two equal ones it is the second, which excludes the bound."""
    limits = [(sign * schema[key], key == keys[1]) for key in keys if key in schema]
    return max(limits, default=(float("-inf"), False))


def _bound_text(schema: Schema, keys: tuple[str, str]) -> str:
    bounds = [f"{key} {as_json(schema[key])}" for key in keys if key in schema]
    return " and ".join(bounds) or f"no {keys[0]}"
