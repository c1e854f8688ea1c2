"""Describes types: what msgspec knows of them, and which parts of them it leaves to pydantic. Pure.

msgspec reads structs, dataclasses and collections, and calls pydantic for each pydantic class in them. It
knows no union of such a class with another type than None, and would read the dataclasses of pydantic without
their checks. A type with one of these is left to pydantic as a whole, which knows everything but structs.
"""

from typing import Any, Final

import msgspec
from msgspec import inspect

from headrace.domain.pydantic_types import (
    build_adapter,
    is_pydantic,
    is_pydantic_dataclass,
    is_pydantic_loaded,
    json_schemas,
    mentions_pydantic,
)

_REFERENCE: Final = "#/$defs/"


class WholeType(inspect.CustomType):
    """A type that pydantic reads as a whole."""


def type_info(shape: Any) -> inspect.Type:
    """Return msgspec's description of a type, or a `WholeType`.

    Raises:
        TypeError, NameError: neither msgspec nor pydantic can read the type.
    """
    if not is_pydantic_loaded():
        return inspect.type_info(shape)
    try:
        kind = inspect.type_info(shape)
    except TypeError as error:
        if not mentions_pydantic(shape):
            raise
        return _whole_type(shape, str(error))
    if isinstance(kind, inspect.CustomType) and is_pydantic(kind.cls):
        return WholeType(shape)
    part = next((part for part in kinds_within(kind) if _is_unchecked(part)), None)
    if part is None:
        return kind
    return _whole_type(shape, f"msgspec reads the dataclass {part.cls.__name__!r} without pydantic's checks")


def json_schema(shape: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type: that of msgspec, with those of pydantic for its classes.

    Raises:
        TypeError, NameError: the type has no JSON Schema.
    """
    try:
        return _schema_with_models(shape) if is_pydantic_loaded() else _plain_schema(shape)
    except TypeError as error:
        if "custom types" not in str(error):
            raise
        unknown = next(kind for kind in _custom_classes(inspect.type_info(shape)) if not is_pydantic(kind))
        raise TypeError(
            f"{_name(unknown)} has no form in JSON; use a struct of msgspec, a dataclass, a TypedDict or"
            " a model of pydantic 2"
        ) from error


def fits_in_struct(shape: Any) -> bool:
    """Return whether a field of a struct may have the type *shape*, as far as pydantic is concerned."""
    kind = type_info(shape)
    return not isinstance(kind, WholeType) or is_pydantic(kind.cls)


def kinds_within(kind: inspect.Type) -> list[Any]:
    """Return *kind* and the types of its parts; types may contain themselves."""
    pending: list[Any] = [kind]
    visited: dict[int, Any] = {}
    while pending:
        part = pending.pop()
        if id(part) in visited:
            continue
        visited[id(part)] = part
        if isinstance(part, tuple):
            pending += part
        elif isinstance(part, inspect.Type | inspect.Field):
            pending += [getattr(part, name) for name in part.__struct_fields__]
    return [part for part in visited.values() if isinstance(part, inspect.Type)]


def _schema_with_models(shape: Any) -> dict[str, Any]:
    kind = type_info(shape)
    if isinstance(kind, WholeType):
        (schema,), definitions = json_schemas([shape], _REFERENCE)
        return {**schema, "$defs": definitions} if definitions else schema
    classes = list(dict.fromkeys(filter(is_pydantic, _custom_classes(kind))))
    if not classes:
        return _plain_schema(shape)
    # The names of pydantic's definitions get a prefix if a struct has the name of a model.
    return _mixed_schema(shape, classes, "") or _mixed_schema(shape, classes, "pydantic.") or {}


def _plain_schema(shape: Any) -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.json.schema(shape)
    return schema


def _custom_classes(kind: inspect.Type) -> list[Any]:
    return [part.cls for part in kinds_within(kind) if isinstance(part, inspect.CustomType)]


def _mixed_schema(shape: Any, classes: list[Any], prefix: str) -> dict[str, Any] | None:
    """Return msgspec's schema of *shape* with pydantic's of *classes*; None if their names collide.

    *prefix* stands before the names of pydantic's definitions.
    """
    schemas, definitions = json_schemas(classes, _REFERENCE + prefix)
    by_class: dict[Any, dict[str, Any]] = dict(zip(classes, schemas, strict=True))

    def find_schema(custom: Any) -> dict[str, Any]:
        if custom not in by_class:
            raise NotImplementedError
        return by_class[custom]

    schema: dict[str, Any] = msgspec.json.schema(shape, schema_hook=find_schema)
    own: dict[str, Any] = schema.get("$defs", {})
    named = {prefix + name: definition for name, definition in definitions.items()}
    if own.keys() & named.keys():
        return None
    schema["$defs"] = {**own, **named}
    return schema


def _is_unchecked(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.DataclassType) and is_pydantic_dataclass(kind.cls)


def _whole_type(shape: Any, reason: str) -> WholeType:
    """Return the description of a type that msgspec cannot read, for *reason*.

    Raises:
        TypeError: pydantic cannot read it either.
    """
    try:
        build_adapter(shape)
    except TypeError as error:
        raise TypeError(
            f"msgspec: {reason}; pydantic: {error}; a union with a pydantic model and another type than None"
            " needs a model or a dataclass around it, not a struct"
        ) from error
    return WholeType(shape)


def _name(kind: Any) -> str:
    return f"`{kind.__qualname__}`" if isinstance(kind, type) else f"`{kind}`"
