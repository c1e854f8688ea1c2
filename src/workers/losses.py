"""Finds where an author's value is not read from JSON as it was: numbers and types that change, lost parts.

Only a value that is not equal to the one that is read is searched.
"""

import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import inspect

from headrace.domain.json_decoding import decode_json
from headrace.domain.pipelines.value_schemas import bare
from headrace.domain.pydantic_types import without_root
from headrace.domain.type_descriptions import type_info
from headrace.workers.value_parts import (
    at_path,
    is_not_finite,
    key_reason,
    number_reason,
    part_path,
    plain_scalar,
    record_fields,
)
from headrace.workers.values import value_text

_ANY: Final = inspect.AnyType()
_RECORDS: Final = (inspect.StructType, inspect.DataclassType)
_ANYTHING: Final = (inspect.AnyType, inspect.RawType)
_LISTS: Final = (list, tuple)
_SETS: Final = (set, frozenset)


def find_loss(value: Any, read: Any, shape: Any) -> str | None:
    """Return what of *value* is read differently, with its path. *read* was decoded as the type *shape*."""
    return next(_losses(value, read, type_info(shape), "$"), None)


def are_equal(value: Any, read: Any) -> bool:
    try:
        return bool(value == read)
    except Exception:  # noqa: BLE001  (an author's `__eq__` may raise anything)
        return False


def _losses(value: Any, read: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    value, kind = plain_scalar(value), _member(bare(kind), read)
    if isinstance(value, msgspec.Raw):
        return  # the author's JSON is read as it was written
    if isinstance(read, msgspec.Raw):
        read = decode_json(bytes(read))
    record = record_fields(value)
    if isinstance(value, Mapping):
        yield from _mapping_losses(value, read, kind, path)
    elif isinstance(value, _LISTS) or (isinstance(value, _SETS) and isinstance(read, _LISTS)):
        yield from _list_losses(value, read, kind, path)
    elif isinstance(value, _SETS) and isinstance(read, _SETS):
        yield from _set_losses(value, read, kind, path)
    elif record is not None and (root := without_root(value)) is not value:
        yield from _losses(root, without_root(read), kind, path)
    elif record is not None:
        yield from _record_losses(value, record, read, kind, path)
    elif not _is_read_as_it_was(value, read, kind):
        yield at_path(_changed(value, read), path)


def _mapping_losses(value: Mapping[Any, Any], read: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    parts = read if isinstance(read, Mapping) else record_fields(read)
    if parts is None:
        yield at_path(_changed(value, read), path)
        return
    kinds = _field_kinds(kind)
    for key, part in value.items():
        if key in parts:
            yield from _losses(part, parts[key], kinds.get(key, _part_kind(kind)), part_path(path, key))
        else:
            reason = f"the key {value_text(key)} is not read" if isinstance(key, str) else key_reason(key)
            yield at_path(reason, path)


def _list_losses(value: Iterable[Any], read: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    parts = list(value)
    if not isinstance(read, _LISTS):
        yield at_path(_changed(value, read), path)
    elif len(parts) != len(read):
        yield at_path(f"{len(parts)} elements are read as {len(read)}", path)
    else:
        for index, (part, part_read) in enumerate(zip(parts, read, strict=True)):
            yield from _losses(part, part_read, _part_kind(kind, index), part_path(path, index))


def _set_losses(value: Iterable[Any], read: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    inner = _part_kind(kind)
    for part in value:
        candidates = [part] if record_fields(part) is None and part in read else read
        if any(next(_losses(part, other, inner, path), None) is None for other in candidates):
            continue
        yield at_path(
            number_reason(part)
            if is_not_finite(part)
            else f"the element {value_text(part)} is read differently",
            path,
        )


def _record_losses(
    value: Any, record: dict[str, Any], read: Any, kind: inspect.Type, path: str
) -> Iterator[str]:
    parts = read if isinstance(read, Mapping) else record_fields(read)
    config = getattr(value, "__struct_config__", None)
    if parts is None and config is not None and config.array_like:
        tag = [] if config.tag is None else [config.tag]
        yield from _list_losses([*tag, *record.values()], read, kind, path)
        return
    if parts is None:
        yield at_path(_changed(value, read), path)
        return
    kinds = _field_kinds(kind)
    for name, part in record.items():
        if name in parts:
            if part is not parts[name]:
                inner = kinds.get(name, _part_kind(kind))
                yield from _losses(part, parts[name], inner, part_path(path, name))
        elif part is not msgspec.UNSET and not (config is not None and config.omit_defaults):
            yield at_path(f"the field {name!r} is not read", path)


def _is_read_as_it_was(value: Any, read: Any, kind: inspect.Type) -> bool:
    """Return whether a value without parts is read as it was, or where any may stand, as its JSON form."""
    if are_equal(value, read):
        return True
    if isinstance(value, int | float) or _has_offset_with_seconds(value):
        return False
    if isinstance(kind, _ANYTHING):
        return not isinstance(value, Enum) or _is_read_as_it_was(value.value, read, kind)
    if isinstance(value, datetime | time) and isinstance(read, datetime | time):
        # Two equal times of a zone are unequal in the hour that its clocks repeat.
        return value.utcoffset() == read.utcoffset() and _without_zone(value) == _without_zone(read)
    return isinstance(value, Decimal) and isinstance(read, Decimal) and str(value) == str(read)


def _has_offset_with_seconds(value: Any) -> bool:
    offset = value.utcoffset() if isinstance(value, datetime | time) else None
    return offset is not None and offset % timedelta(minutes=1) != timedelta(0)


def _without_zone(value: datetime | time) -> datetime | time:
    return value.replace(tzinfo=None, fold=0)


def _changed(value: Any, read: Any) -> str:
    if is_not_finite(value):
        return number_reason(value)
    if isinstance(value, int | float) and isinstance(read, int | float | Decimal):
        return f"{value!r} is read as {read!r}"
    if _has_offset_with_seconds(value):
        return f"{value} is read as {read}"
    if type(value) is type(read):
        return f"{value_text(value)} is read as {value_text(read)}"
    return f"`{type(value).__name__}` is read as `{type(read).__name__}`"


def _member(kind: inspect.Type, read: Any) -> inspect.Type:
    """Return the member of a union that *read* was decoded as; other types as they are."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    members = [bare(member) for member in kind.types]
    return next((member for member in members if _may_decode(member, read)), _ANY)


def _may_decode(kind: inspect.Type, read: Any) -> bool:
    if isinstance(kind, inspect.DictType | inspect.TypedDictType):
        return isinstance(read, Mapping)
    if isinstance(kind, inspect.CollectionType | inspect.TupleType | inspect.NamedTupleType):
        return isinstance(read, list | tuple | set | frozenset)
    if isinstance(kind, _RECORDS):
        return isinstance(read, typing.get_origin(kind.cls) or kind.cls)
    if isinstance(kind, inspect.CustomType):
        return read is not None
    # Values without parts differ only in whether any value may stand in their place.
    return isinstance(kind, _ANYTHING) or record_fields(read) is None


def _field_kinds(kind: inspect.Type) -> dict[str, inspect.Type]:
    if isinstance(kind, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        return {field.encode_name: field.type for field in kind.fields}
    return {}


def _part_kind(kind: inspect.Type, index: int = 0) -> inspect.Type:
    """Return the type of the values of a dictionary, or of one element of a list."""
    if isinstance(kind, inspect.DictType):
        return kind.value_type
    if isinstance(kind, inspect.CollectionType):
        return kind.item_type
    if isinstance(kind, inspect.TupleType):
        return kind.item_types[index]
    if isinstance(kind, inspect.NamedTupleType):
        return kind.fields[index].type
    # What pydantic reads must be as it was in all its parts.
    return kind if isinstance(kind, inspect.CustomType) else _ANY
