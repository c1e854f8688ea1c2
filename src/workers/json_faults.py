"""Encodes an author's value as JSON, and finds the part of it that JSON has no form for."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.domain.json_limits import MAX_JSON_DEPTH
from headrace.domain.pydantic_types import as_builtins, is_pydantic, without_root
from headrace.workers.unfinished_values import explain_unfinished
from headrace.workers.value_parts import (
    at_path,
    is_not_finite,
    key_reason,
    named_parts,
    number_reason,
    part_path,
    plain_scalar,
)
from headrace.workers.values import error_text

_MAX_SEARCHED_PARTS: Final = 100_000
NOT_ENCODABLE: Final = (TypeError, ValueError, RecursionError, OverflowError)


class ValueFault(Struct, frozen=True):
    """Why a part of a value cannot be stored. *is_mismatch*: JSON has no such number, or no such key."""

    reason: str
    is_mismatch: bool


def find_fault(value: Any, error: Exception) -> ValueFault:
    """Return the first part that JSON has no form for, with its path: NaN, a key that is no text.

    If the first 100,000 parts have a form, the reason is that of *error*.
    """
    searched = 0
    for fault in islice(_faults(value, "$", 0, set()), _MAX_SEARCHED_PARTS):
        if fault is not None:
            return fault
        searched += 1
    reason = error_text(error)
    if searched == _MAX_SEARCHED_PARTS:
        reason = f"{reason} - not in its first {searched} parts"
    return ValueFault(reason, is_mismatch=False)


def _faults(value: Any, path: str, level: int, visited: set[int]) -> Iterator[ValueFault | None]:
    """Yield None for each part that is searched, and each fault."""
    yield None
    value = plain_scalar(without_root(value))
    parts = named_parts(value)
    if (unfinished := explain_unfinished(value)) is not None:
        yield ValueFault(at_path(unfinished, path), is_mismatch=False)
    elif is_not_finite(value):
        yield ValueFault(at_path(number_reason(value), path), is_mismatch=True)
    elif parts is None:
        reason = _refusal(value)
        if reason is not None:
            yield ValueFault(at_path(reason, path), is_mismatch=False)
    elif level == MAX_JSON_DEPTH:
        yield ValueFault(f"it is nested deeper than {MAX_JSON_DEPTH} levels", is_mismatch=False)
    elif id(value) not in visited:
        visited.add(id(value))
        for name, part in parts:
            if isinstance(value, Mapping) and (reason := _refusal({name: None})) is not None:
                is_text = isinstance(name, str)
                yield ValueFault(
                    at_path(reason if is_text else key_reason(name), path), is_mismatch=not is_text
                )
            yield from _faults(part, part_path(path, name), level + 1, visited)


def find_nul(value: Any, path: str = "$") -> str | None:
    """Return the path of the first text or key of the JSON *value* that contains NUL."""
    if isinstance(value, str):
        return path if "\0" in value else None
    for name, part in named_parts(value) or ():
        inner = part_path(path, name)
        if isinstance(name, str) and "\0" in name:
            return inner
        if (place := find_nul(part, inner)) is not None:
            return place
    return None


def _refusal(value: Any) -> str | None:
    try:
        ENCODER.encode(value)
    except NOT_ENCODABLE as error:
        return error_text(error)
    return None


def _plain_value(value: Any) -> Any:
    """Return a plain value for a scalar of numpy, a value of pydantic or a subclass of a number or text."""
    plain = next((kind(value) for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    if plain is None and is_pydantic(type(value)):
        return as_builtins(value)
    if plain is None:
        plain = plain_scalar(value)
    if type(plain) is type(value):
        raise TypeError(f"a {type(value).__name__} is no JSON value")
    return plain


ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain_value)
