"""Validates params against a pipeline's schema the way msgspec decodes them in a worker.

A schema says that a text is a date, but not which texts msgspec takes for one. So the checks of formats, keys
and numbers call msgspec.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import jsonschema_rs

from headrace.domain.pipelines.faults import explain
from headrace.domain.pipelines.keywords import FORMATS, INTEGER, KEYWORDS, MULTIPLE_OF, PATTERN

_SUBSCHEMA: Final = frozenset(
    ("items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else")
)
_SUBSCHEMA_LISTS: Final = frozenset(("anyOf", "allOf", "oneOf", "prefixItems"))
_SUBSCHEMA_MAPS: Final = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs"))


class ParamsValidator:
    """The validator of one schema.

    JSON Schema takes 1.0 for an integer, msgspec does not. As the check costs a call per integer, it is made
    only for params that contain a float.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        strict = _with_checks(schema, strict_integers=True)
        plain = _with_checks(schema, strict_integers=False)
        self._strict = _build(strict)
        self._plain = self._strict if strict == plain else _build(plain)

    def is_valid(self, params: Any) -> bool:
        if not self._plain.is_valid(params):
            return False
        if self._plain is self._strict or not _has_floats(params):
            return True
        return bool(self._strict.is_valid(params))

    def faults(self, params: Any) -> Iterator[tuple[list[str | int], str]]:
        """Yield the path and a sentence for each fault of *params*."""
        for error in self._strict.iter_errors(params):
            yield from explain(error)


def _has_floats(value: dict[str, Any] | list[Any]) -> bool:
    """Return whether a float is anywhere in *value*. It runs on each submission, so it has few calls."""
    parts = value.values() if isinstance(value, dict) else value
    kinds = set(map(type, parts))
    if float in kinds:
        return True
    if dict not in kinds and list not in kinds:
        return False
    return any(_has_floats(part) for part in parts if isinstance(part, dict | list))


def _build(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for(schema, formats=FORMATS, validate_formats=True, keywords=KEYWORDS)


def _with_checks(schema: Any, *, strict_integers: bool) -> Any:
    """Return *schema* with the keywords of `KEYWORDS` where msgspec differs from JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    checked = _with_parts(schema, lambda part: _with_checks(part, strict_integers=strict_integers))
    if strict_integers and _has_integers(schema):
        checked[INTEGER] = True
    if schema.get("type") == "number" and "format" not in schema:
        _check_floats(checked)
    if schema.get("contentEncoding") == "base64":
        checked.setdefault("format", "base64")
    if "pattern" in schema and not _is_compilable(schema["pattern"]):
        checked[PATTERN] = checked.pop("pattern")
    return checked


def _with_parts(schema: dict[str, Any], convert: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a copy of *schema* with each schema inside it converted."""
    copy = dict(schema)
    for name, value in schema.items():
        if name in _SUBSCHEMA:
            copy[name] = convert(value)
        elif name in _SUBSCHEMA_LISTS:
            copy[name] = [convert(part) for part in value]
        elif name in _SUBSCHEMA_MAPS:
            copy[name] = {key: convert(part) for key, part in value.items()}
    return copy


def _has_integers(schema: dict[str, Any]) -> bool:
    if "type" in schema:
        return bool(schema["type"] == "integer")
    return any(type(value) is int for value in schema.get("enum", ()))


def _check_floats(schema: dict[str, Any]) -> None:
    # JSON has integers that no float can hold.
    if "maximum" not in schema and "exclusiveMaximum" not in schema:
        schema["maximum"] = sys.float_info.max
    if "minimum" not in schema and "exclusiveMinimum" not in schema:
        schema["minimum"] = -sys.float_info.max
    if "multipleOf" in schema:
        schema[MULTIPLE_OF] = schema.pop("multipleOf")


def _is_compilable(pattern: str) -> bool:
    """Return whether the pattern has a meaning in JSON Schema. Python's syntax has more than that."""
    try:
        jsonschema_rs.validator_for({"pattern": pattern})
    except ValueError:
        return False
    return True
