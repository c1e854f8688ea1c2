"""JSON Schemas of types: those of msgspec, with the formats and keys that msgspec leaves out. Pure.

The schemas of pydantic's types are pydantic's own.

A refined schema is still JSON Schema 2020-12. Rules that the standard cannot express are extra keywords,
which other validators ignore.
"""

import typing
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Final

from msgspec import inspect

from headrace.domain.pipelines.value_schemas import (
    COLLECTION,
    FIELDS,
    bare,
    flag_schema,
    key_schema,
    scalar_keywords,
)
from headrace.domain.type_descriptions import WholeType, json_schema, type_info

_RECORDS: Final = (
    inspect.StructType,
    inspect.TypedDictType,
    inspect.DataclassType,
    inspect.NamedTupleType,
)


def type_schema(shape: Any) -> dict[str, Any]:
    """Return the JSON Schema of what a worker decodes into the type *shape*.

    Raises:
        TypeError, NameError: the type has no JSON Schema.
    """
    return _refined_schema(shape, with_shapes=True)


def schema_without_shapes(shape: Any) -> dict[str, Any]:
    """Return the schema as an earlier release has registered params: without `FIELDS` and `COLLECTION`."""
    return _refined_schema(shape, with_shapes=False)


def without_meta(shape: Any) -> Any:
    """Return the type without the `Meta` in its annotation; the fields of a struct keep theirs."""
    return typing.get_type_hints(SimpleNamespace(__annotations__={"shape": shape}))["shape"]


def _refined_schema(shape: Any, *, with_shapes: bool) -> dict[str, Any]:
    schema = json_schema(shape)
    _Refiner(schema.get("$defs", {}), with_shapes=with_shapes).refine(type_info(shape), schema)
    return schema


def accepts_objects(params: Any) -> bool:
    """Return whether msgspec decodes some JSON object into the type *params*."""
    return _accepts_objects(type_info(params))


def _accepts_objects(kind: inspect.Type) -> bool:
    kind = bare(kind)
    if isinstance(kind, inspect.UnionType):
        return any(_accepts_objects(member) for member in kind.types)
    if isinstance(kind, inspect.StructType):
        return not kind.array_like
    if isinstance(kind, WholeType):
        schema = json_schema(kind.cls)
        return _describes_objects(schema, schema.get("$defs", {}))
    return isinstance(
        kind,
        inspect.AnyType
        | inspect.RawType
        | inspect.CustomType
        | inspect.DictType
        | inspect.TypedDictType
        | inspect.DataclassType,
    )


def _describes_objects(schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return _describes_objects(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        return any(_describes_objects(option, definitions) for option in options)
    return bool(schema.get("type", "object") == "object")


class _Refiner:
    """Walks a type and its schema side by side, and adds to the schema. *definitions* are its `$defs`.

    *with_shapes*: also add what tells apart types whose values look the same in JSON.
    """

    def __init__(self, definitions: dict[str, Any], *, with_shapes: bool) -> None:
        self._definitions = definitions
        self._with_shapes = with_shapes
        self._visited: set[str] = set()

    def refine(self, kind: inspect.Type, schema: Any) -> None:
        kind = bare(kind)
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name in self._visited or name not in self._definitions:
                return
            self._visited.add(name)
            schema = self._definitions[name]
        if isinstance(kind, _RECORDS):
            self._refine_fields(kind, schema)
        elif isinstance(kind, inspect.UnionType):
            self._refine_all(_in_schema_order(kind.types), _options(schema))
        elif isinstance(kind, inspect.CollectionType):
            self._refine_items(kind, schema)
        elif isinstance(kind, inspect.TupleType):
            self._refine_all(kind.item_types, schema.get("prefixItems", ()))
        elif isinstance(kind, inspect.DictType):
            keys = key_schema(kind.key_type)
            if keys is not None:
                schema["propertyNames"] = {**schema.get("propertyNames", {}), **keys} if keys else False
            self.refine(kind.value_type, schema.get("additionalProperties"))
        else:
            _refine_scalar(kind, schema)

    def _refine_items(self, kind: inspect.CollectionType, schema: dict[str, Any]) -> None:
        if self._with_shapes and isinstance(kind, inspect.VarTupleType):
            schema[COLLECTION] = "tuple"
        self.refine(kind.item_type, schema.get("items"))

    def _refine_all(self, kinds: Iterable[inspect.Type], schemas: Iterable[Any]) -> None:
        for kind, schema in zip(kinds, schemas, strict=False):
            self.refine(kind, schema)

    def _refine_fields(self, kind: Any, schema: dict[str, Any]) -> None:
        if "prefixItems" in schema:
            if self._with_shapes:
                schema[FIELDS] = [field.name for field in kind.fields]
            # The tag of a struct comes before its fields.
            tags = len(schema["prefixItems"]) - len(kind.fields)
            self._refine_all((field.type for field in kind.fields), schema["prefixItems"][tags:])
        for field in kind.fields:
            self.refine(field.type, schema.get("properties", {}).get(field.encode_name))


def _refine_scalar(kind: inspect.Type, schema: dict[str, Any]) -> None:
    flags = flag_schema(kind)
    if flags is not None:
        del schema["enum"]  # the members, without their combinations
    schema.update(scalar_keywords(kind) if flags is None else flags)


def _in_schema_order(kinds: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Return the members of a union as msgspec lists them: structs after the others, null last."""

    def place(kind: inspect.Type) -> int:
        kind = bare(kind)
        if isinstance(kind, inspect.NoneType):
            return 2
        return int(isinstance(kind, inspect.StructType) and not kind.array_like)

    return sorted(kinds, key=place)


def _options(schema: dict[str, Any]) -> list[Any]:
    options: list[Any] = []
    for option in schema.get("anyOf", ()):
        options += option["anyOf"] if "discriminator" in option else [option]
    return options
