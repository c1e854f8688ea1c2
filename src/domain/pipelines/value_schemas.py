"""Keywords of a JSON Schema for single values and for the keys of objects, which msgspec leaves out. Pure."""

import enum
from typing import Any, Final

from msgspec import inspect

MIN_BYTES: Final = "x-headrace-minBytes"
MAX_BYTES: Final = "x-headrace-maxBytes"
"""The length of bytes. `minLength` and `maxLength` count characters of base64, three bytes for every four."""

KEY: Final = "x-headrace-key"
"""The schema of the number that a key of an object stands for."""

FIELDS: Final = "x-headrace-fields"
"""The names of the fields of a struct that is an array in JSON, in their order."""

COLLECTION: Final = "x-headrace-collection"
"""`tuple` for an array that is decoded as a tuple of any length."""

OFFSET_PATTERN: Final = "(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$"
"""The end of a date-time or a time that must have an offset."""

INTEGER_KEY: Final = "^-?(?:0|[1-9][0-9]*)$"

_DATE_TIME_FORMATS: Final = {True: "date-time", False: "date-time-local", None: "date-time"}
_TIME_FORMATS: Final = {True: "time", False: "partial-time", None: "time"}
_MAX_LISTED_BITS: Final = 255
_BYTES: Final = (inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)
_TEXT_FORMATS: Final = {
    inspect.DateType: "date",
    inspect.TimeDeltaType: "duration",
    inspect.UUIDType: "uuid",
}

DECODED_FORMATS: Final = frozenset(
    {*_DATE_TIME_FORMATS.values(), *_TIME_FORMATS.values(), *_TEXT_FORMATS.values(), "decimal"}
)
"""Texts with one of these formats are decoded into other values."""


def bare(kind: inspect.Type) -> inspect.Type:
    """Return the type without its metadata, such as titles."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def flag_schema(kind: inspect.Type) -> dict[str, Any] | None:
    """Return the schema of the members of a flag and their combinations; None for other types."""
    if not isinstance(kind, inspect.EnumType) or not issubclass(kind.cls, enum.Flag):
        return None
    all_bits = (1 << max((member.value.bit_length() for member in kind.cls), default=0)) - 1
    if _is_value(kind.cls, all_bits + 1):  # an `IntFlag` keeps bits that it does not know
        return {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    if all_bits > _MAX_LISTED_BITS:
        return {"type": "integer", "minimum": ~all_bits, "maximum": all_bits}
    return {"enum": [value for value in range(~all_bits, all_bits + 1) if _is_value(kind.cls, value)]}


def _is_value(kind: Any, value: int) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


def scalar_keywords(kind: inspect.Type) -> dict[str, Any]:
    """Return the keywords that msgspec leaves out of the schema of a single value."""
    if isinstance(kind, inspect.DateTimeType | inspect.TimeType):
        formats = _DATE_TIME_FORMATS if isinstance(kind, inspect.DateTimeType) else _TIME_FORMATS
        keywords = {"format": formats[kind.tz]}
        return keywords | {"pattern": OFFSET_PATTERN} if kind.tz else keywords
    if isinstance(kind, inspect.DecimalType):
        return {"type": ["string", "number"]}
    if isinstance(kind, _BYTES):
        lengths = {MIN_BYTES: kind.min_length, MAX_BYTES: kind.max_length}
        return {name: length for name, length in lengths.items() if length is not None}
    return {}


def key_schema(kind: inspect.Type) -> dict[str, Any] | None:
    """Return what the keys of an object must fulfil: None for any text, an empty schema if none can."""
    kind = bare(kind)
    if isinstance(kind, inspect.AnyType | inspect.StrType):
        return None  # msgspec's schema has the limits of texts
    if isinstance(kind, inspect.UnionType):
        return _union_schema(kind)
    if (flags := flag_schema(kind)) is not None:
        return {"pattern": INTEGER_KEY, KEY: flags}
    if isinstance(kind, inspect.EnumType | inspect.LiteralType):
        values = kind.values if isinstance(kind, inspect.LiteralType) else [each.value for each in kind.cls]
        return {"enum": sorted(str(value) for value in values if value is not None)}
    if isinstance(kind, inspect.IntType | inspect.FloatType | inspect.DecimalType):
        return _number_key_schema(kind)
    return _text_schema(kind)


def _union_schema(kind: inspect.UnionType) -> dict[str, Any] | None:
    options: list[dict[str, Any]] = []
    for each in kind.types:
        member = bare(each)
        option = key_schema(member)
        if option is None:
            if not isinstance(member, inspect.StrType):
                return None
            limits = (
                ("minLength", member.min_length),
                ("maxLength", member.max_length),
                ("pattern", member.pattern),
            )
            option = {name: limit for name, limit in limits if limit is not None}
            if not option:
                return None
        if option:
            options.append(option)
    return {"anyOf": options} if options else {}


def _number_key_schema(kind: inspect.IntType | inspect.FloatType | inspect.DecimalType) -> dict[str, Any]:
    if isinstance(kind, inspect.DecimalType):
        return {"format": "decimal", KEY: {"type": "number", "format": "decimal"}}
    if isinstance(kind, inspect.FloatType):
        return {KEY: _number_schema("number", kind)}
    number = _number_schema("integer", kind)
    return {"pattern": INTEGER_KEY} | ({KEY: number} if len(number) > 1 else {})


def _number_schema(name: str, kind: inspect.IntType | inspect.FloatType) -> dict[str, Any]:
    limits = {
        "minimum": kind.ge,
        "exclusiveMinimum": kind.gt,
        "maximum": kind.le,
        "exclusiveMaximum": kind.lt,
        "multipleOf": kind.multiple_of,
    }
    return {"type": name} | {keyword: limit for keyword, limit in limits.items() if limit is not None}


def _text_schema(kind: inspect.Type) -> dict[str, Any]:
    if isinstance(kind, _BYTES):
        return {"contentEncoding": "base64"} | scalar_keywords(kind)
    if isinstance(kind, inspect.DateTimeType | inspect.TimeType):
        return scalar_keywords(kind)
    name = _TEXT_FORMATS.get(type(kind))
    return {} if name is None else {"format": name}
