"""Turns the fields of an author's log line into JSON that can be stored."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.domain.json_limits import MAX_JSON_DEPTH, is_nested_deeper
from headrace.domain.redaction import redact_values
from headrace.workers.value_sizes import is_small
from headrace.workers.values import plain_text, value_text

_MAX_FIELDS_BYTES: Final = 8 * 1024
_MAX_FIELD_NAME_BYTES: Final = 200
# The fields are an object, and the stored body of their event is another.
_MAX_FIELD_DEPTH: Final = MAX_JSON_DEPTH - 2
_DROPPED: Final = {"dropped": f"the fields had more than {_MAX_FIELDS_BYTES} bytes"}


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a log line as JSON without credentials; other values become their `repr`."""
    if not is_small(fields, max_chars=_MAX_FIELDS_BYTES, max_parts=_MAX_FIELDS_BYTES):
        return dict(_DROPPED)
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        key = plain_text(str(name), _MAX_FIELD_NAME_BYTES)
        try:
            encoded = msgspec.json.encode(value)
            is_deep = is_nested_deeper(encoded, _MAX_FIELD_DEPTH)
            plain[key] = value_text(value) if is_deep else msgspec.json.decode(encoded)
        except (TypeError, ValueError, OverflowError, RecursionError):
            plain[key] = value_text(value)
    if len(msgspec.json.encode(plain)) > _MAX_FIELDS_BYTES:
        return dict(_DROPPED)
    return dict(redact_values(plain))
