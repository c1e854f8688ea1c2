"""Validates params against a pipeline's schema the way msgspec decodes them in a worker.

A schema says that a text is a date, but not which texts msgspec takes for one. So the checks of formats, keys
and numbers call msgspec.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

import jsonschema_rs
import msgspec

from headrace.domain.pipelines.faults import explain
from headrace.domain.pipelines.keywords import FORMATS, INTEGER, KEYWORDS, MULTIPLE_OF, PATTERN

_SUBSCHEMA: Final = frozenset(
    ("items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else")
)
_SUBSCHEMA_LISTS: Final = frozenset(("anyOf", "allOf", "oneOf", "prefixItems"))
_SUBSCHEMA_MAPS: Final = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs"))

_CONTAINERS: Final = frozenset((dict, list))
# The largest float has 1,024 bits before its point.
_MAX_FLOAT_BITS: Final = sys.float_info.max_exp - 1
# A fault takes up to 20 microseconds.
_MAX_VALUES_FOR_ALL_FAULTS: Final = 250


class ParamsValidator:
    """The validator of one schema.

    JSON Schema takes 1.0 for an integer, and JSON has integers that no float can hold; msgspec refuses both.
    As checking that costs much for each number, it is done only for params that contain such numbers.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        strict = self._schema = _with_checks(schema, is_strict=True)
        plain = _with_checks(schema, is_strict=False)
        self._strict = _build(strict)
        self._plain = self._strict if strict == plain else _build(plain)

    def is_valid(self, params: Any) -> bool:
        if not self._plain.is_valid(params):
            return False
        if self._plain is self._strict or not _has_special_numbers(params):
            return True
        return bool(self._strict.is_valid(params))

    def faults(self, params: Any) -> Iterator[tuple[list[str | int], str]]:
        """Yield the path and a sentence for each fault of *params*; in large params only the first one."""
        if msgspec.json.encode(params).count(b",") <= _MAX_VALUES_FOR_ALL_FAULTS:
            for error in self._strict.iter_errors(params):
                yield from explain(error, self._schema)
            return
        # `iter_errors` collects all errors before it returns the first one.
        try:
            self._strict.validate(params)
        except jsonschema_rs.ValidationError as error:
            yield from explain(error, self._schema)


def _has_special_numbers(params: dict[str, Any]) -> bool:
    """Return whether *params* contain whole numbers as floats, or integers that no float can hold.

    It runs on each submission, so it has few calls.
    """
    level: list[Any] = [params]
    while level:
        parts = list(chain.from_iterable(map(_parts, level)))
        kinds = set(map(type, parts))
        if float in kinds and any(map(float.is_integer, (part for part in parts if type(part) is float))):
            return True
        if int in kinds and any(part.bit_length() > _MAX_FLOAT_BITS for part in parts if type(part) is int):
            return True
        level = (
            [part for part in parts if type(part) is dict or type(part) is list]
            if kinds & _CONTAINERS
            else []
        )
    return False


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if type(value) is dict else value


def _build(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for(schema, formats=FORMATS, validate_formats=True, keywords=KEYWORDS)


def _with_checks(schema: Any, *, is_strict: bool) -> Any:
    """Return *schema* with the keywords of `KEYWORDS` where msgspec differs from JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    checked = _with_parts(schema, lambda part: _with_checks(part, is_strict=is_strict))
    if is_strict and _has_integers(schema):
        checked[INTEGER] = True
    if schema.get("type") == "number" and "format" not in schema:
        _check_floats(checked, has_bounds=is_strict)
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


def _check_floats(schema: dict[str, Any], *, has_bounds: bool) -> None:
    if has_bounds and "maximum" not in schema and "exclusiveMaximum" not in schema:
        schema["maximum"] = sys.float_info.max
    if has_bounds and "minimum" not in schema and "exclusiveMinimum" not in schema:
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
