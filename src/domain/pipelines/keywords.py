"""Checks of formats and keywords for jsonschema_rs that call msgspec, so that they accept what it decodes."""

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from headrace.domain.pipelines.faults import shown
from headrace.domain.pipelines.value_schemas import KEY, MAX_BYTES, MIN_BYTES

INTEGER: Final = "x-headrace-integer"
"""The value is not written as a float."""
MULTIPLE_OF: Final = "x-headrace-multipleOf"
"""`multipleOf` in the arithmetic of floats."""
PATTERN: Final = "x-headrace-pattern"
"""A pattern in Python's syntax."""

_NOT_DECODABLE: Final = (msgspec.MsgspecError, ValueError, ArithmeticError)


def _decodes(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except _NOT_DECODABLE:
        return False
    return True


def _format_check(kind: Any) -> Callable[[str], bool]:
    return lambda text: _decodes(text, kind)


FORMATS: Final = {
    "base64": _format_check(bytes),
    "date": _format_check(date),
    "date-time": _format_check(datetime),
    "date-time-local": _format_check(Annotated[datetime, Meta(tz=False)]),
    "decimal": _format_check(Decimal),
    "duration": _format_check(timedelta),
    "partial-time": _format_check(Annotated[time, Meta(tz=False)]),
    "time": _format_check(time),
    "uuid": _format_check(UUID),
}


class _Keyword:
    """A keyword of a schema with its *value*, as jsonschema_rs creates and calls it."""

    def __init__(self, _parent: dict[str, Any], value: Any, _path: list[str | int]) -> None:
        self._value = value

    def validate(self, instance: Any) -> None:
        """Raise a ValueError with a sentence if the value does not fit."""
        fault = self._fault(instance)
        if fault is not None:
            raise ValueError(f"{shown(instance)} {fault}")

    def _fault(self, instance: Any) -> str | None:
        raise NotImplementedError


class _Integer(_Keyword):
    def _fault(self, instance: Any) -> str | None:
        is_whole = isinstance(instance, float) and instance.is_integer()
        return "is not written as a whole number such as 100" if is_whole else None


class _MultipleOf(_Keyword):
    def _fault(self, instance: Any) -> str | None:
        if type(instance) not in (int, float):
            return None
        kind = Annotated[float, Meta(multiple_of=self._value)]
        return None if _decodes(instance, kind) else f"is not a multiple of {self._value}"


class _MinBytes(_Keyword):
    def _fault(self, instance: Any) -> str | None:
        is_short = _decodes(instance, bytes) and not _decodes(
            instance, Annotated[bytes, Meta(min_length=self._value)]
        )
        return f"has less than {self._value} bytes" if is_short else None


class _MaxBytes(_Keyword):
    def _fault(self, instance: Any) -> str | None:
        is_long = _decodes(instance, bytes) and not _decodes(
            instance, Annotated[bytes, Meta(max_length=self._value)]
        )
        return f"has more than {self._value} bytes" if is_long else None


class _Pattern(_Keyword):
    def _fault(self, instance: Any) -> str | None:
        is_other = isinstance(instance, str) and not re.search(self._value, instance)
        return f"does not match {shown(self._value)}" if is_other else None


class _Key(_Keyword):
    def __init__(self, parent: dict[str, Any], value: Any, path: list[str | int]) -> None:
        super().__init__(parent, value, path)
        self._decode = msgspec.json.Decoder(dict[_key_type(value), Any]).decode  # type: ignore[misc]

    def _fault(self, instance: Any) -> str | None:
        try:
            self._decode(msgspec.json.encode({instance: None}))
        except _NOT_DECODABLE as error:
            reason = str(error).removesuffix(" - at `key` in `$`")
            return f"is not a number that fits: {reason[0].lower()}{reason[1:]}"
        return None


def _key_type(schema: dict[str, Any]) -> Any:
    """Return the type of a key with the schema of its number: `KEY` in value_schemas.py."""
    if schema.get("format") == "decimal":
        return Decimal
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    limits = {
        "ge": schema.get("minimum"),
        "gt": schema.get("exclusiveMinimum"),
        "le": schema.get("maximum"),
        "lt": schema.get("exclusiveMaximum"),
        "multiple_of": schema.get("multipleOf"),
    }
    number = int if schema["type"] == "integer" else float
    return Annotated[number, Meta(**limits)]


KEYWORDS: Final[dict[str, Any]] = {
    KEY: _Key,
    MAX_BYTES: _MaxBytes,
    MIN_BYTES: _MinBytes,
    INTEGER: _Integer,
    MULTIPLE_OF: _MultipleOf,
    PATTERN: _Pattern,
}
