"""Estimates whether JSON work is short enough for the event loop; longer work belongs in a thread. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from headrace.domain.json_limits import MAX_JSON_DEPTH, MAX_LOOP_CHARS
from headrace.workers.value_parts import record_fields

_MAX_PARTS: Final = 1_000

_TEXTS: Final = (str, bytes, bytearray, msgspec.Raw)
_SCALARS: Final = frozenset({type(None), bool, int, float})
_COLLECTIONS: Final = (list, tuple, set, frozenset)


def is_small(value: Any, *, max_chars: int = MAX_LOOP_CHARS, max_parts: int = _MAX_PARTS) -> bool:
    """Return whether *value* has at most *max_parts* parts, with texts of *max_chars* together.

    It visits no more parts than that, and none below the levels that can be stored.

    Raises:
        Exception: any exception that a value raises when it is visited.
    """
    if type(value) in _SCALARS:
        return True
    parts = [value]
    for _ in range(MAX_JSON_DEPTH):
        inner: list[Any] = []
        for part in parts:
            if type(part) in _SCALARS:
                continue
            if isinstance(part, _TEXTS):
                max_chars -= len(part)
                continue
            for group in _parts(part):
                max_parts -= len(group)
                if max_parts < 0:
                    return False
                inner += group
        if max_chars < 0:
            return False
        if not inner:
            return True
        parts = inner
    return True


def _parts(value: Any) -> Iterable[Collection[Any]]:
    """Return the collections of parts of *value*, such as the keys and the values of a dictionary."""
    if isinstance(value, _COLLECTIONS):
        return (value,)
    if isinstance(value, Mapping):
        return (value.keys(), value.values())
    if isinstance(value, memoryview):
        return ((bytes(value),),)
    record = record_fields(value)
    return () if record is None else (record.values(),)
