"""Finds the known name that a misspelt one probably stands for. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

# Comparing takes time that grows with the lengths of both names.
_MAX_LENGTH: Final = 64


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of *known* that is most like *name*; None if none is."""
    if len(name) > _MAX_LENGTH:
        return None
    matches = get_close_matches(name, list(known), n=1)
    return matches[0] if matches else None
