"""The interface to PostgreSQL for workers and streams: single statements, each its own transaction."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from headrace.domain.errors import HeadraceError


class DatabaseAwayError(HeadraceError):
    """PostgreSQL cannot be reached or has cut the connection: the statement may have been committed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL is not available ({reason})")
        self.reason = reason


class DatabaseBusyError(HeadraceError):
    """PostgreSQL rolled a statement back: a deadlock, a lock of another transaction, or its time limit."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL is busy ({reason})")
        self.reason = reason


class DatabaseRefusingError(DatabaseBusyError):
    """PostgreSQL rolls statements back until it is well again: its disk is full, or it is read-only.

    *is_misconfigured*: only an operator can mend it: the login, the database or a right is missing.
    """

    def __init__(self, reason: str, *, is_misconfigured: bool = False) -> None:
        HeadraceError.__init__(self, f"PostgreSQL refuses statements ({reason})")
        self.reason = reason
        self.is_misconfigured = is_misconfigured


class DatabaseTimeoutError(DatabaseAwayError):
    """PostgreSQL did not answer in time."""


TRANSIENT: Final = (DatabaseAwayError, DatabaseBusyError)
"""The errors after which the caller should try again later."""


class Row(Protocol):
    """A row, read by column name."""

    def __getitem__(self, column: str, /) -> Any: ...


class Database(Protocol):
    """Runs one statement with `$1`-style arguments and returns its rows."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        """Run *statement* in its own transaction and return its rows.

        Raises:
            DatabaseAwayError: the statement may or may not have been committed.
            DatabaseBusyError: the statement was rolled back and may be tried again.
            Exception: PostgreSQL refuses the values of the statement, or the statement.
        """
