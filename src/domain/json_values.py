"""What plain JSON values hold. Pure."""

from typing import Any


def has_nul(value: Any) -> bool:
    """Whether the character NUL, which PostgreSQL cannot store, stands in any text of *value*."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and "\0" in one:
            return True
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return False
