"""The interface of a retention rule: what one statement removes, and what a whole pass would."""

from datetime import datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct

from headrace.domain.errors import HeadraceError


class Batch(Struct, frozen=True):
    """How many rows a statement has removed. *is_last*: nothing is left that it could remove now.

    *put_off*: why a pass that is complete has left rows that may be past their term.
    """

    removed: int
    is_last: bool
    put_off: str | None = None


class RulePutOffError(HeadraceError):
    """A pass is complete, and has left rows to the next one. The message says which, and why."""


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
