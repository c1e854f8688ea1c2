"""Reads, writes and describes the types that pydantic validates. Pure.

pydantic is no dependency: a class of it is known by its attributes, and then its module is loaded already.
"""

import dataclasses
import sys
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

_JSON_NAMES: Final = {dict: "object", list: "array", type(None): "null"}
_TYPE_FAULTS: Final = ("_type", "_parsing")
_adapters: Final[dict[Any, Any]] = {}


class ModelError(ValueError):
    """A JSON value does not fit a pydantic type. *path* leads from that value to the part that is wrong."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def is_pydantic_loaded() -> bool:
    return "pydantic" in sys.modules


def is_pydantic(kind: Any) -> bool:
    """Return whether pydantic validates the class *kind*: a model, or a type such as `HttpUrl`."""
    return hasattr(kind, "__get_pydantic_core_schema__") and is_pydantic_loaded()


def is_pydantic_dataclass(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) and hasattr(kind, "__pydantic_validator__")


def mentions_pydantic(shape: Any) -> bool:
    """Return whether the type *shape*, or the type of a part of it, is one of pydantic."""
    pending: list[Any] = [shape]
    visited: dict[int, Any] = {}  # the values keep the parts alive, so that no id is used twice
    while pending:
        part = pending.pop()
        if id(part) in visited:
            continue
        visited[id(part)] = part
        if is_pydantic(part) or is_pydantic_dataclass(part):
            return True
        pending += typing.get_args(part)
        owner = typing.get_origin(part) or part
        if isinstance(owner, type) and getattr(owner, "__annotations__", None):
            pending += typing.get_type_hints(owner).values()
    return False


def without_root(value: Any) -> Any:
    """Return the value that a `RootModel` holds; other values as they are."""
    return value.root if getattr(type(value), "__pydantic_root_model__", None) is True else value


def model_fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a model under their names in JSON; None for other values."""
    fields = getattr(type(value), "__pydantic_fields__", None)
    if not isinstance(fields, dict):
        return None
    named = {
        field.serialization_alias or field.alias or name: getattr(value, name, None)
        for name, field in fields.items()
    }
    return named | (getattr(value, "__pydantic_extra__", None) or {})


def as_builtins(value: Any) -> Any:
    """Return a value of a pydantic class as the class writes it to read it again: without computed fields.

    Raises:
        ValueError: the class cannot write it.
    """
    adapter = _class_adapter(type(value))
    return adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings=False)


def build_whole_decode(shape: Any) -> Callable[[str | bytes], Any]:
    """Return a function that decodes JSON as a type that is left to pydantic as a whole.

    Raises:
        TypeError: pydantic cannot read the type.
    """
    adapter = build_adapter(shape)

    def decode(raw: str | bytes) -> Any:
        try:
            return adapter.validate_json(raw)
        except ValueError as error:
            raise _at_path(_model_error(error, msgspec.json.decode(raw)), "$") from error

    return decode


def build_decode(shape: Any) -> Callable[[str | bytes], Any]:
    """Return a function that decodes JSON as a type of msgspec with pydantic types in it."""
    decode = msgspec.json.Decoder(shape, dec_hook=_validate).decode

    def decode_parts(raw: str | bytes) -> Any:
        try:
            return decode(raw)
        except msgspec.ValidationError as error:
            if not isinstance(error.__cause__, ModelError):
                raise
            path = str(error).removeprefix(error.__cause__.reason)
            raise _at_path(error.__cause__, path[len(" - at `") : -1] or "$") from error.__cause__

    return decode_parts


def build_adapter(shape: Any) -> Any:
    """Return pydantic's `TypeAdapter` of a type.

    Raises:
        TypeError: pydantic cannot read the type.
    """
    pydantic = sys.modules["pydantic"]
    try:
        return pydantic.TypeAdapter(shape)
    except pydantic.PydanticUserError as error:
        raise TypeError(_sentence(error)) from error


def create_model(name: str, fields: dict[str, Any], module: str) -> Any:
    """Return a new model that refuses other fields than *fields*: a type and a default for each name."""
    pydantic = sys.modules["pydantic"]
    try:
        return pydantic.create_model(name, __module__=module, __config__={"extra": "forbid"}, **fields)
    except pydantic.PydanticUserError as error:
        raise TypeError(_sentence(error)) from error


def json_schemas(shapes: list[Any], reference: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return pydantic's JSON Schemas of types, and the definitions that they refer to as `reference` + name.

    Raises:
        TypeError: a type has no JSON Schema.
    """
    pydantic = sys.modules["pydantic"]
    adapters = [(number, "validation", build_adapter(shape)) for number, shape in enumerate(shapes)]
    try:
        schemas, common = pydantic.TypeAdapter.json_schemas(adapters, ref_template=reference + "{model}")
    except pydantic.PydanticUserError as error:
        raise TypeError(_sentence(error)) from error
    return [schemas[number, mode] for number, mode, _ in adapters], common.get("$defs", {})


def _class_adapter(kind: Any) -> Any:
    adapter = _adapters.get(kind)
    if adapter is None:
        adapter = _adapters[kind] = build_adapter(kind)
    return adapter


def _validate(kind: Any, value: Any) -> Any:
    """Return *value*, which was decoded from JSON, as one of the class *kind*: the hook of msgspec."""
    if not is_pydantic(kind):
        raise NotImplementedError
    try:
        return _class_adapter(kind).validate_json(msgspec.json.encode(value))
    except ValueError as error:
        raise _model_error(error, value) from error


def _model_error(error: ValueError, value: Any) -> ModelError:
    """Return the first fault that pydantic has found in *value*, in the words that msgspec has for others."""
    find_faults = getattr(error, "errors", None)
    if find_faults is None:
        return ModelError(str(error), "")
    faults = find_faults(include_url=False, include_context=False)
    fault = faults[0]
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if fault["type"].endswith(_TYPE_FAULTS):
        kind = type(fault["input"])
        reason += f", got `{_JSON_NAMES.get(kind, kind.__name__)}`"
    if len(faults) > 1:
        reason += f" (and {len(faults) - 1} more)"
    return ModelError(reason, _path(fault["loc"], value, is_missing=fault["type"] == "missing"))


def _path(places: tuple[str | int, ...], value: Any, *, is_missing: bool) -> str:
    """Return the path of the part of *value* at *places*, among which are also the members of unions."""
    path = ""
    for number, place in enumerate(places, start=1):
        if isinstance(value, dict) and place in value:
            path, value = f"{path}.{place}", value[place]
        elif isinstance(value, list) and isinstance(place, int) and 0 <= place < len(value):
            path, value = f"{path}[{place}]", value[place]
        elif is_missing and number == len(places):
            path = f"{path}.{place}"
    return path


def _at_path(error: ModelError, prefix: str) -> msgspec.ValidationError:
    path = prefix + error.path
    return msgspec.ValidationError(error.reason if path == "$" else f"{error.reason} - at `{path}`")


def _sentence(error: Any) -> str:
    """Return the first sentence of an error of pydantic; the others are for those who extend pydantic."""
    return str(error.message).partition("\n")[0].partition(". ")[0]
