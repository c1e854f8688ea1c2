"""Puts the items of several groups in rounds, so that the items of a large group do not come first."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar

Item = TypeVar("Item")


def in_rounds(groups: Iterable[Sequence[Item]]) -> list[Item]:
    """Return the first item of each group, then the second of each, and so on. No item is None."""
    return [item for items in zip_longest(*groups) for item in items if item is not None]
