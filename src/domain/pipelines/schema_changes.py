"""Compares two JSON Schemas: does the new one still accept and decode every value of the old one? Pure.

The schemas are those that msgspec and pydantic make of types. A keyword that is not known here must stay as
it is: a change that cannot be judged counts as a breaking one.
"""

from collections.abc import Iterator
from typing import Any, Final

from headrace.domain.pipelines.schema_limits import LIMITS, compare_limits
from headrace.domain.pipelines.schema_texts import IS_NAMED, Schema, as_json, label, was_and_is
from headrace.domain.pipelines.value_schemas import (
    COLLECTION,
    DECODED_FORMATS,
    FIELDS,
    INTEGER_KEY,
    KEY,
    OFFSET_PATTERN,
)

_ANNOTATIONS: Final = frozenset(
    {"$comment", "$defs", "default", "deprecated", "description", "discriminator", "examples", "title"}
)
# Values of a type with one of these are decoded differently from those of a type without.
_KIND_KEYS: Final = ("enum", "properties", "prefixItems", "uniqueItems", "not", IS_NAMED, COLLECTION)
_COMPARED: Final = frozenset(
    {
        "additionalProperties",
        "contentEncoding",
        "enum",
        "format",
        "items",
        "pattern",
        "prefixItems",
        "properties",
    }
    | {"propertyNames", "required", "type", FIELDS}
    | {*_KIND_KEYS, *LIMITS}
)
_NUMBERS: Final = frozenset({"integer", "number"})
# pydantic says `oneOf` for a union with a tag, and `const` for a literal with one value.
_UNIONS: Final = ("anyOf", "oneOf")


def narrowings(old: Schema, new: Schema, path: str) -> list[str]:
    """Return why values that *old* accepts may be refused or decoded differently by *new*.

    Each reason begins with the path of the type that differs, below *path*. A new optional field, a wider
    constraint and another default, title or description are no reasons.
    """
    return list(_Comparison(old, new).compare(old, new, path))


def differences(old: Schema, new: Schema, path: str) -> list[str]:
    """Return in what the two schemas differ, apart from defaults, titles and descriptions."""
    narrowed = narrowings(old, new, path)
    widened = {reason.partition(": ")[0]: None for reason in narrowings(new, old, path)}
    return narrowed or [f"{place}: accepts more than before" for place in widened]


class _Comparison:
    """One comparison of two documents, whose definitions may refer to themselves."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_definitions = old.get("$defs", {})
        self._new_definitions = new.get("$defs", {})
        self._compared: set[tuple[int, int]] = set()

    def compare(self, old: Any, new: Any, path: str) -> Iterator[str]:
        pair = (id(old), id(new))
        if pair not in self._compared:
            self._compared.add(pair)
            yield from self._compare_alternatives(old, new, path)

    def _compare_alternatives(self, old: Any, new: Any, path: str) -> Iterator[str]:
        olds = _alternatives(old, self._old_definitions)
        news = _alternatives(new, self._new_definitions)
        if len(olds) == len(news) == 1:
            yield from self._compare_single(olds[0], news[0], path)
            return
        for alternative in olds:
            candidates = [other for other in news if _kind(other) == _kind(alternative)]
            if not candidates:
                yield f"{path}: {label(alternative)} is no longer accepted"
                continue
            reasons = [list(self._compare_single(alternative, other, path)) for other in candidates]
            yield from min(reasons, key=len)
        old_types, new_types = _json_types(olds), _json_types(news)
        if old_types & _NUMBERS and new_types & _NUMBERS - old_types:
            yield f"{path}: numbers are decoded differently: integer and number are mixed"

    def _compare_single(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Compare two schemas without references and alternatives."""
        is_same_kind = all((key in old) == (key in new) for key in _KIND_KEYS)
        if not is_same_kind or _decoding(old) != _decoding(new):
            yield f"{path}: was {label(old)}, is {label(new)}"
            return
        for compare in (self._compare_fields, self._compare_elements, compare_limits):
            yield from compare(old, new, path)
        for value in old.get("enum", ()):
            if not any(type(value) is type(other) and value == other for other in new["enum"]):
                yield f"{path}: value {as_json(value)} is no longer accepted"
        for key in ("pattern", "format"):
            if new.get(key) not in (None, old.get(key)):
                is_offset = new[key] == OFFSET_PATTERN
                reason = was_and_is(key, old.get(key), new[key])
                yield f"{path}: {'an offset is required now' if is_offset else reason}"
        for key in sorted((old.keys() | new.keys()) - _COMPARED - _ANNOTATIONS):
            if old.get(key) != new.get(key) and not _is_annotation(key):
                yield f"{path}: {was_and_is(key.lstrip('$'), old.get(key), new.get(key))}"

    def _compare_fields(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Compare the fields of a struct, or the values of a dictionary."""
        fields, new_fields = old.get("properties", {}), new.get("properties", {})
        for name, field in fields.items():
            if name in new_fields:
                yield from self.compare(field, new_fields[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: was removed or renamed"
        for name in new.get("required", ()):
            if name not in old.get("required", ()):
                kind = "is required now" if name in fields else "is a new required field"
                yield f"{path}.{name}: {kind}"
        rest, new_rest = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if "properties" not in old:
            yield from self.compare(rest, new_rest, f"{path}{{}}")
            if old.get("type") == "object":
                yield from self._compare_alternatives(key_type(old), key_type(new), f"{path}{{key}}")
        elif new_rest is False and rest is not False:
            yield f"{path}: unknown fields are refused now"

    def _compare_elements(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Compare the elements of a list, or the places of a tuple."""
        if "prefixItems" not in old:
            yield from self.compare(old.get("items", True), new.get("items", True), f"{path}[]")
            return
        places, new_places = old["prefixItems"], new["prefixItems"]
        if len(places) != len(new_places):
            yield f"{path}: had {len(places)} places, has {len(new_places)}"
            return
        if old.get(FIELDS) != new.get(FIELDS):
            yield f"{path}: {was_and_is('the order of fields', old.get(FIELDS), new.get(FIELDS))}"
        for number, (place, new_place) in enumerate(zip(places, new_places, strict=True)):
            yield from self.compare(place, new_place, f"{path}[{number}]")


def _alternatives(schema: Any, definitions: Schema) -> list[Schema]:
    """Return the alternatives of *schema*, each without references."""
    resolved = _resolved(schema, definitions)
    union = next((key for key in _UNIONS if key in resolved), None)
    if union is None:
        return [resolved]
    common = {key: value for key, value in resolved.items() if key != union and key not in _ANNOTATIONS}
    return [
        {**alternative, **common}
        for option in resolved[union]
        for alternative in _alternatives(option, definitions)
    ]


def _resolved(schema: Any, definitions: Schema) -> Schema:
    """Return *schema* with what it refers to. `True` accepts everything, `False` nothing."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    resolved: Schema = schema
    while "$ref" in resolved:
        target = definitions.get(str(resolved["$ref"]).rpartition("/")[2], {"$ref_unknown": resolved["$ref"]})
        resolved = {**target, **{key: value for key, value in resolved.items() if key != "$ref"}}
        if "enum" in resolved:
            resolved[IS_NAMED] = True
    if _is_literal(resolved):
        return {"enum": [resolved["const"]]}
    return resolved


def _is_literal(schema: Schema) -> bool:
    """Return whether a schema is that of a literal with one value, as pydantic describes it."""
    return isinstance(schema.get("const"), str) and schema.keys() <= {"const", "type", *_ANNOTATIONS}


def _kind(schema: Schema) -> tuple[str | None, Any]:
    """Return what a decoder tells the alternatives of a union by: the JSON type, and the tag of a struct."""
    if "enum" in schema:
        return ("enum", None)
    fields = schema.get("properties", {}).values()
    tags = [field["enum"] for field in fields if list(field) == ["enum"]]
    tags += [[field["const"]] for field in fields if _is_literal(field)]
    return (schema.get("type"), tags[0] if tags else None)


def _json_types(alternatives: list[Schema]) -> set[Any]:
    types = [alternative.get("type") for alternative in alternatives]
    return {name for each in types for name in (each if isinstance(each, list) else [each])}


def key_type(schema: Schema) -> Any:
    """Return the schema of the keys of a dictionary as that of the values that they are decoded into."""
    return _key_type(schema.get("propertyNames", True))


def _key_type(names: Any) -> Any:
    if names is False:
        return False
    names = {} if names is True else names
    if "anyOf" in names:
        return {"anyOf": [_key_type(option) for option in names["anyOf"]]}
    if "enum" in names:
        return names
    if KEY in names:
        return names[KEY]
    return {"type": "integer"} if names.get("pattern") == INTEGER_KEY else {"type": "string", **names}


def _decoding(schema: Schema) -> tuple[Any, ...]:
    """Return what decides into which type a value without parts is decoded."""
    text_format = schema.get("format")
    decoded_format = text_format if text_format in DECODED_FORMATS else None
    return schema.get("type"), decoded_format, schema.get("contentEncoding")


def _is_annotation(key: str) -> bool:
    """Return whether a keyword of an author says something to others than a validator."""
    return key.startswith("x-") and not key.startswith("x-headrace-")
