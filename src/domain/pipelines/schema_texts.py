"""Sentences about what differs between two JSON Schemas. Pure."""

from typing import Any, Final

import msgspec

from headrace.domain.pipelines.value_schemas import COLLECTION, DECODED_FORMATS

Schema = dict[str, Any]

IS_NAMED: Final = "$named"
"""Marks an enumeration of a class; msgspec writes that of a `Literal` where it is used."""


def label(schema: Schema) -> str:
    """Return the kind of values that *schema* without references describes."""
    if "not" in schema:
        return "nothing"
    if "enum" in schema:
        return f"{'an Enum with' if IS_NAMED in schema else 'one of'} {as_json(schema['enum'])}"
    if "properties" in schema:
        return f"{schema.get('title', 'object')} with fields"
    if "prefixItems" in schema:
        return f"{schema.get('title', 'tuple')} with {len(schema['prefixItems'])} places"
    if schema.get("type") == "array":
        return "set" if "uniqueItems" in schema else str(schema.get(COLLECTION, "list"))
    return _scalar_label(schema)


def _scalar_label(schema: Schema) -> str:
    if schema.get("format") in DECODED_FORMATS:
        return str(schema["format"])
    if "contentEncoding" in schema:
        return f"bytes in {schema['contentEncoding']}"
    return str(schema.get("type", "any type"))


def was_and_is(name: str, old: Any, new: Any) -> str:
    """Return how the keyword *name* has changed."""
    if old is None:
        return f"{name} {as_json(new)} is new"
    if new is None:
        return f"{name} {as_json(old)} was dropped"
    return f"{name} was {as_json(old)}, is {as_json(new)}"


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
