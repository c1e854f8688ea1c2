"""Tells whether `==` compares all parts of a value: a class may leave out fields, or have its own. Pure."""

import dataclasses
import typing
from functools import cache
from typing import Any

import msgspec

from headrace.domain.pydantic_types import is_pydantic
from headrace.domain.type_descriptions import kinds_within, type_info


def compares_all(shape: Any) -> bool:
    """Return whether two values of the type *shape* are equal only if all their parts are."""
    try:
        return _compares_all(shape)
    except TypeError:  # the type cannot be hashed
        return False


@cache
def _compares_all(shape: Any) -> bool:
    classes = [getattr(kind, "cls", None) for kind in kinds_within(type_info(shape))]
    return all(_compares_all_fields(typing.get_origin(kind) or kind) for kind in classes if kind is not None)


def _compares_all_fields(kind: Any) -> bool:
    if issubclass(kind, msgspec.Struct):
        return kind.__eq__ is msgspec.Struct.__eq__
    if dataclasses.is_dataclass(kind):
        return all(field.compare for field in dataclasses.fields(kind)) and _has_generated_eq(kind)
    if hasattr(kind, "__attrs_attrs__") or is_pydantic(kind):
        return False
    # An enum, or a named tuple.
    return not issubclass(kind, tuple) or kind.__eq__ is tuple.__eq__


def _has_generated_eq(kind: Any) -> bool:
    """Return whether a dataclass has the comparison that is made for it, or none but identity."""
    code = getattr(vars(kind).get("__eq__"), "__code__", None)
    return kind.__eq__ is object.__eq__ or (code is not None and code.co_filename == "<string>")
