"""Turns the fields of an author's log line into JSON that can be stored."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.domain.json_decoding import decode_json
from headrace.domain.json_limits import ESCAPED_NUL, MAX_JSON_DEPTH, is_nested_deeper
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
    left = _MAX_FIELDS_BYTES
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        key = plain_text(str(name), _MAX_FIELD_NAME_BYTES)
        try:
            if not is_small(value, max_chars=left, max_parts=left):
                return dict(_DROPPED)
            encoded = msgspec.json.encode(value)
            is_deep = is_nested_deeper(encoded, _MAX_FIELD_DEPTH)
            decoded = value_text(value) if is_deep else decode_json(encoded)
            plain[key] = _without_nul(decoded) if ESCAPED_NUL in encoded else decoded
            left -= len(encoded)
        except Exception:  # noqa: BLE001  (an author's value may raise anything)
            plain[key] = value_text(value)
    if len(msgspec.json.encode(plain)) > _MAX_FIELDS_BYTES:
        return dict(_DROPPED)
    return dict(redact_values(plain))


def _without_nul(value: Any) -> Any:
    """Replace the NUL characters of plain JSON, which PostgreSQL cannot read as text."""
    if isinstance(value, str):
        return value.replace("\0", "\N{SYMBOL FOR NULL}")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value
