"""What workers and streams need of PostgreSQL: single statements, each its own transaction."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from headrace.domain.errors import HeadraceError


class DatabaseAwayError(HeadraceError):
    """PostgreSQL cannot be reached, or cut the connection: whether the statement counted is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL is not available ({reason})")
        self.reason = reason


class DatabaseBusyError(HeadraceError):
    """PostgreSQL gave up a statement for a deadlock, a lock that somebody holds, or its time limit.

    Nothing of it was kept.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL is busy ({reason})")
        self.reason = reason


# What passes by itself: whoever meets it tries again later.
TRANSIENT: Final = (DatabaseAwayError, DatabaseBusyError)


class Row(Protocol):
    """A row, read by column name."""

    def __getitem__(self, column: str, /) -> Any: ...


class Database(Protocol):
    """Runs one statement with `$1`-style arguments and returns its rows."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        """Run *statement* in a transaction of its own.

        Raises:
            DatabaseAwayError: no answer; it may or may not have been committed.
            DatabaseBusyError: it was rolled back and may be tried again.
        """
