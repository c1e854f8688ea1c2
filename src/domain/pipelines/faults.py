"""Plain sentences for the faults that a JSON Schema finds in params. Pure."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from headrace.domain.pipelines.value_schemas import OFFSET_PATTERN
from headrace.domain.spelling import nearest

_MAX_SHOWN: Final = 100
_UNIONS: Final = frozenset({"anyOf", "oneOf"})
_CLOSED: Final = frozenset({"additionalProperties", "unevaluatedProperties"})
# Finding the nearest of many names takes some milliseconds.
_MAX_SUGGESTIONS: Final = 3
_MAX_KNOWN: Final = 100

_FORMATS: Final = {
    "base64": "base64 with its padding, such as aGVhZHJhY2U=",
    "date": "a date such as 2030-01-02",
    "date-time": "a date-time such as 2030-01-02T03:04:05Z",
    "date-time-local": "a date-time without an offset, such as 2030-01-02T03:04:05",
    "decimal": "a decimal number such as 12.34",
    "duration": "a duration of days, hours, minutes and seconds, such as P1DT2H30M",
    "email": "an e-mail address",
    "partial-time": "a time without an offset, such as 03:04:05",
    "time": "a time such as 03:04:05",
    "uuid": "a UUID such as 9f7f2c1e-2d53-4b6f-8a8e-5a2f0f4a7c11",
}


def shown(value: Any) -> str:
    """Return *value* as JSON, clipped."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def explain(error: Any, schema: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    """Yield the path and a sentence for each fault of a validation error of jsonschema_rs with *schema*."""
    keyword = error.kind.name
    if keyword in _UNIONS and hasattr(error.kind, "context"):
        yield from _explain_union(error, schema)
    elif keyword == "propertyNames":
        for _, sentence in explain(error.kind.error, schema):
            yield error.instance_path, f"key {sentence}"
    elif keyword in _CLOSED:
        yield from _explain_unknown(error, schema)
    elif keyword == "format" and error.kind.format in _FORMATS:
        yield error.instance_path, f"{shown(error.instance)} is not {_FORMATS[error.kind.format]}"
    elif keyword == "pattern" and error.kind.pattern == OFFSET_PATTERN:
        yield error.instance_path, f"{shown(error.instance)} has no offset such as Z or +01:00"
    else:
        yield error.instance_path, error.message


def _explain_unknown(error: Any, schema: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    """Explain each field that an object must not have, at its own path."""
    owner: Any = schema
    for part in error.schema_path[:-1]:
        owner = owner[part]
    names = list(islice(owner.get("properties", ()), _MAX_KNOWN))
    for index, name in enumerate(error.kind.unexpected):
        meant = nearest(name, names) if index < _MAX_SUGGESTIONS else None
        advice = "" if meant is None else f"; did you mean {shown(meant)}?"
        yield [*error.instance_path, name], f"there is no field {shown(name)}{advice}"


def _explain_union(error: Any, schema: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    """Explain the option that was meant, as far as its type tells; else say what is possible."""
    path: list[str | int] = error.instance_path
    options: list[list[Any]] = [option for option in error.kind.context if not _is_other_type(option, path)]
    tag = _tag_error(options, path)
    if tag is not None:
        options = [option for option in options if not _has_other_tag(option, tag.instance_path)]
        if not options:
            tags = [_own_tag(option, tag.instance_path) for option in error.kind.context]
            names = ", ".join(shown(name) for name in tags if name is not None)
            yield tag.instance_path, f"{shown(tag.instance)} is not one of {names}"
            return
    if options:
        for fault in min(options, key=len):
            yield from explain(fault, schema)
        return
    yield path, f"{shown(error.instance)} is not {' or '.join(dict.fromkeys(_possibilities(error)))}"


def _is_other_type(option: Sequence[Any], path: list[str | int]) -> bool:
    """Return whether an option of a union was not meant, because its type or its values are different."""
    for error in option:
        if error.instance_path != path:
            continue
        if error.kind.name in ("type", "enum", "const"):
            return True
        if error.kind.name in _UNIONS and all(_is_other_type(inner, path) for inner in error.kind.context):
            return True
    return False


def _tag_error(options: Sequence[Sequence[Any]], path: list[str | int]) -> Any:
    """Return the error of a tag: a field of the value for which the struct allows one value."""
    errors = (error for option in options for error in option)
    return next((error for error in errors if error.instance_path[:-1] == path and _is_tag(error)), None)


def _is_tag(error: Any) -> bool:
    return error.kind.name == "const" or (error.kind.name == "enum" and len(error.kind.options) == 1)


def _tag_of(error: Any) -> Any:
    return error.kind.expected_value if error.kind.name == "const" else error.kind.options[0]


def _has_other_tag(option: Sequence[Any], path: list[str | int]) -> bool:
    return any(_is_tag(error) and error.instance_path == path for error in option)


def _own_tag(option: Sequence[Any], path: list[str | int]) -> Any:
    return next((_tag_of(error) for error in option if _is_tag(error) and error.instance_path == path), None)


def _possibilities(error: Any) -> Iterator[str]:
    for option in error.kind.context:
        for inner in option:
            if inner.kind.name == "type":
                yield from (f"of type {shown(name)}" for name in inner.kind.types)
            elif inner.kind.name == "const":
                yield shown(inner.kind.expected_value)
            elif inner.kind.name == "enum":
                yield f"one of {', '.join(shown(value) for value in inner.kind.options)}"
            elif inner.kind.name in _UNIONS:
                yield from _possibilities(inner)
