"""JSON values as PostgreSQL returns them from a column of type jsonb. Pure."""

from decimal import Decimal
from typing import Any

import msgspec


def as_stored(value: Any, path: str = "$") -> Any:
    """Return a JSON value as it is read after it was stored: 1e22 as a whole number, -0.0 without its sign.

    Raises:
        ValueError: a text holds NUL, which PostgreSQL cannot store.
    """
    match value:
        case str() if "\0" in value:
            raise ValueError(f"a text holds the character NUL - at `{path}`")
        case float():
            return _stored_number(value)
        case list():
            return [as_stored(part, f"{path}[{index}]") for index, part in enumerate(value)]
        case dict():
            return {as_stored(key, path): as_stored(part, f"{path}.{key}") for key, part in value.items()}
        case _:
            return value


def _stored_number(number: float) -> float | int:
    text = msgspec.json.encode(number).decode()
    if "e" in text and number.is_integer():
        return int(Decimal(text))
    return number or 0.0
