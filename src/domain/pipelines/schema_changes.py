"""Compares two JSON Schemas: does the new one still accept and decode every value of the old one? Pure.

The schemas are those that msgspec makes of types. A keyword that is not known here must stay as it is: a
change that cannot be judged counts as a breaking one.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

Schema = dict[str, Any]

_ANNOTATIONS: Final = frozenset(
    {"$comment", "$defs", "default", "deprecated", "description", "discriminator", "examples", "title"}
)
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum")
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum")
_SMALLEST_SIZES: Final = ("minItems", "minLength", "minProperties")
_LARGEST_SIZES: Final = ("maxItems", "maxLength", "maxProperties")
# Values of a type with one of these are decoded differently from those of a type without.
_KIND_KEYS: Final = ("enum", "properties", "prefixItems")
# Marks an enumeration of a class; msgspec writes that of a `Literal` where it is used.
_IS_NAMED: Final = "$named"
_NUMBERS: Final = frozenset({"integer", "number"})


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
        if pair in self._compared:
            return
        self._compared.add(pair)
        olds = _alternatives(old, self._old_definitions)
        news = _alternatives(new, self._new_definitions)
        if len(olds) == len(news) == 1:
            yield from self._compare_single(olds[0], news[0], path)
            return
        for alternative in olds:
            candidates = [other for other in news if _kind(other) == _kind(alternative)]
            if not candidates:
                yield f"{path}: {_label(alternative)} is no longer accepted"
                continue
            reasons = [list(self._compare_single(alternative, other, path)) for other in candidates]
            yield from min(reasons, key=len)
        old_types, new_types = ({option.get("type") for option in options} for options in (olds, news))
        if old_types & _NUMBERS and new_types & _NUMBERS - old_types:
            yield f"{path}: numbers are decoded differently: integer and number are mixed"

    def _compare_single(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Compare two schemas without references and alternatives."""
        is_same_kind = all((key in old) == (key in new) for key in _KIND_KEYS)
        if not is_same_kind or old.get("type") != new.get("type"):
            yield f"{path}: was {_label(old)}, is {_label(new)}"
            return
        for compare in (self._compare_fields, self._compare_elements, _compare_bounds):
            yield from compare(old, new, path)
        for value in old.get("enum", ()):
            if not any(type(value) is type(other) and value == other for other in new["enum"]):
                yield f"{path}: value {_json(value)} is no longer accepted"
        pattern = new.get("pattern")
        if pattern is not None and pattern != old.get("pattern"):
            yield f"{path}: pattern was {_json(old.get('pattern'))}, is {_json(pattern)}"
        for key in sorted((old.keys() | new.keys()) - _COMPARED - _ANNOTATIONS):
            if old.get(key) != new.get(key):
                yield f"{path}: {key.lstrip('$')} was {_json(old.get(key))}, is {_json(new.get(key))}"

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
            yield from self.compare(
                old.get("propertyNames", True), new.get("propertyNames", True), f"{path}{{}}"
            )
        elif new_rest is False and rest is not False:
            yield f"{path}: unknown fields are refused now"

    def _compare_elements(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Compare the elements of a list, or the places of a tuple."""
        yield from self.compare(old.get("items", True), new.get("items", True), f"{path}[]")
        places, new_places = old.get("prefixItems", ()), new.get("prefixItems", ())
        if len(places) != len(new_places):
            yield f"{path}: had {len(places)} places, has {len(new_places)}"
            return
        for number, (place, new_place) in enumerate(zip(places, new_places, strict=True)):
            yield from self.compare(place, new_place, f"{path}[{number}]")


_COMPARED: Final = frozenset(
    {"additionalProperties", "enum", "items", "multipleOf", "pattern", "prefixItems", "properties"}
    | {"propertyNames", "required", "type"}
    | {*_LOWER_BOUNDS, *_UPPER_BOUNDS, *_SMALLEST_SIZES, *_LARGEST_SIZES}
)


def _compare_bounds(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if _limit(new, _LOWER_BOUNDS) > _limit(old, _LOWER_BOUNDS):
        yield f"{path}: {_bound_text(old, _LOWER_BOUNDS)}, {_bound_text(new, _LOWER_BOUNDS)} now"
    if _limit(new, _UPPER_BOUNDS, sign=-1) > _limit(old, _UPPER_BOUNDS, sign=-1):
        yield f"{path}: {_bound_text(old, _UPPER_BOUNDS)}, {_bound_text(new, _UPPER_BOUNDS)} now"
    for key in (*_SMALLEST_SIZES, *_LARGEST_SIZES):
        size, new_size = old.get(key), new.get(key)
        if new_size is None:
            continue
        is_narrower = new_size > (size or 0) if key in _SMALLEST_SIZES else size is None or new_size < size
        if is_narrower:
            yield f"{path}: {key} was {_json(size)}, is {_json(new_size)}"
    factor, new_factor = old.get("multipleOf"), new.get("multipleOf")
    if new_factor is not None and factor != new_factor:
        are_whole = isinstance(factor, int) and isinstance(new_factor, int)
        if not are_whole or factor % new_factor != 0:
            yield f"{path}: multipleOf was {_json(factor)}, is {_json(new_factor)}"


def _limit(schema: Schema, keys: tuple[str, str], *, sign: int = 1) -> tuple[float, bool]:
    """Return the strictest of two bounds. Of two equal ones it is the second, which excludes the bound."""
    limits = [(sign * schema[key], key == keys[1]) for key in keys if key in schema]
    return max(limits, default=(float("-inf"), False))


def _bound_text(schema: Schema, keys: tuple[str, str]) -> str:
    bounds = [f"{key} {_json(schema[key])}" for key in keys if key in schema]
    return " and ".join(bounds) or f"no {keys[0]}"


def _alternatives(schema: Any, definitions: Schema) -> list[Schema]:
    """Return the alternatives of *schema*, each without references."""
    resolved = _resolved(schema, definitions)
    if "anyOf" not in resolved:
        return [resolved]
    common = {key: value for key, value in resolved.items() if key != "anyOf" and key not in _ANNOTATIONS}
    return [
        {**alternative, **common}
        for option in resolved["anyOf"]
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
            resolved[_IS_NAMED] = True
    return resolved


def _kind(schema: Schema) -> tuple[str | None, Any]:
    """Return what a decoder tells the alternatives of a union by: the JSON type, and the tag of a struct."""
    if "enum" in schema:
        return ("enum", None)
    tags = [field["enum"] for field in schema.get("properties", {}).values() if list(field) == ["enum"]]
    return (schema.get("type"), tags[0] if tags else None)


def _label(schema: Schema) -> str:
    if "enum" in schema:
        return f"one of {_json(schema['enum'])}"
    if "properties" in schema:
        return f"{schema.get('title', 'object')} with fields"
    return str(schema.get("type", "any type"))


def _json(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
