"""The parts of an author's values under their names in JSON, and the paths that errors name them by. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import msgspec

from headrace.domain.pydantic_types import model_fields, without_root
from headrace.workers.values import value_text

_MAX_PATH: Final = 200
_WITHOUT_FIELDS: Final = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
_PLAIN_NAME: Final = re.compile(r"[^\W\d][\w-]*")


def record_fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a struct, a dataclass, an attrs object or a pydantic model; None for others."""
    if type(value) in _WITHOUT_FIELDS:
        return None
    if isinstance(value, msgspec.Struct):
        kind = type(value)
        names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
        return {encoded: getattr(value, name, None) for encoded, name in names}
    if isinstance(value, type):
        return None
    if is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is None:
        return model_fields(value)
    return {attribute.name: getattr(value, attribute.name, None) for attribute in attributes}


def named_parts(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the name or index of each part of *value*, and the part; None if it has none."""
    value = without_root(value)
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    record = record_fields(value)
    return None if record is None else record.items()


def plain_scalar(value: Any) -> Any:
    """Return a scalar of numpy as a plain value, and other values as they are."""
    is_scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_scalar and not isinstance(value, float | str) else value


def part_path(path: str, name: Any) -> str:
    """Return the path of the part *name* of the value at *path*."""
    if isinstance(name, str) and _PLAIN_NAME.fullmatch(name):
        return f"{path}.{name}"
    return f"{path}[{value_text(name)}]"


def at_path(reason: str, path: str) -> str:
    return f"{reason} - at `{path[:_MAX_PATH]}`"


def key_reason(key: Any) -> str:
    return f"the key {value_text(key)} is {type(key).__name__}, JSON has only text"


def is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def number_reason(value: Any) -> str:
    return f"JSON has no {value}"
