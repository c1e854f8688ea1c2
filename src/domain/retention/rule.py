"""The interface of a retention rule: what one statement removes, and what a whole pass would."""

from datetime import datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct


class Batch(Struct, frozen=True):
    """How many rows a statement has removed. *is_last*: nothing is left that it could remove now."""

    removed: int
    is_last: bool


NOTHING_LEFT: Final = Batch(0, is_last=True)


class Rule(Protocol):
    """One kind of rows that grows, and when they are removed. *period*: the time between two passes."""

    name: str
    period: timedelta

    async def prune(self, now: datetime, limit: int) -> Batch:
        """Remove up to *limit* rows that are past their term at *now*, in one statement.

        Rows that another transaction has locked are left to the next pass.
        """

    async def count(self, now: datetime) -> int:
        """Return how many rows a pass would remove."""
