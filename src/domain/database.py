"""The interface to PostgreSQL for workers and streams: single statements, each its own transaction."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol

from headrace.domain.conditions import Condition, Trouble
from headrace.domain.errors import HeadraceError


class DatabaseAwayError(HeadraceError):
    """PostgreSQL cannot be reached or has cut the connection: the statement may have been committed."""

    condition: ClassVar[Condition | None] = Condition.AWAY
    _text: ClassVar[str] = "PostgreSQL is not available"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self._text} ({reason})")
        self.reason = reason


class OutOfConnectionsError(DatabaseAwayError):
    """PostgreSQL accepts no more connections of anybody, or of this role."""

    condition = Condition.OUT_OF_CONNECTIONS
    _text = "PostgreSQL has no connection left"


class DatabaseTimeoutError(DatabaseAwayError):
    """PostgreSQL did not answer in time."""

    condition: ClassVar[Condition | None] = Condition.SLOW
    _text = "PostgreSQL is too slow"


class PoolFullError(DatabaseTimeoutError):
    """All connections of this process were in use for too long, so the statement was not sent."""

    condition = None
    _text = "PostgreSQL is busy"

    def __init__(self) -> None:
        super().__init__("all connections of this process are in use")


class DatabaseBusyError(HeadraceError):
    """PostgreSQL rolled a statement back: a deadlock, a lock of another transaction, or its time limit."""

    condition: ClassVar[Condition | None] = None
    _text: ClassVar[str] = "PostgreSQL is busy"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self._text} ({reason})")
        self.reason = reason


class TimeLimitError(DatabaseBusyError):
    """A statement took longer than its time limit: it asks for too much, or PostgreSQL is overloaded."""

    _text = "a statement took longer than its time limit: ask for less, or try again later"


class DatabaseRefusingError(DatabaseBusyError):
    """PostgreSQL rolls statements back until it is well again."""

    condition = Condition.REFUSING
    _text = "PostgreSQL refuses statements"


class DatabaseReadOnlyError(DatabaseRefusingError):
    """PostgreSQL accepts no writes, as after a fail-over."""

    condition = Condition.READ_ONLY
    _text = "PostgreSQL is read-only"


class DatabaseFullError(DatabaseRefusingError):
    """The disk of PostgreSQL is full."""

    condition = Condition.FULL
    _text = "the disk of PostgreSQL is full"


class DatabaseMisconfiguredError(DatabaseRefusingError):
    """PostgreSQL refuses the login, or lacks the database or a right: only an operator can mend it."""

    def __init__(self, reason: str, cause: str) -> None:
        """*reason*: the words of PostgreSQL, which may name the role. *cause* may be shown to everybody."""
        HeadraceError.__init__(self, f"PostgreSQL refuses this service ({cause})")
        self.reason = reason
        self.cause = cause


TRANSIENT: Final = (DatabaseAwayError, DatabaseBusyError)
"""The errors after which the caller should try again later."""


def trouble_of(error: DatabaseAwayError | DatabaseBusyError) -> Trouble | None:
    """Return what *error* says about PostgreSQL; None if it concerns a single statement."""
    if error.condition is None:
        return None
    cause = error.cause if isinstance(error, DatabaseMisconfiguredError) else ""
    return Trouble(error.condition, error.reason, cause)


def is_outage(error: Exception) -> bool:
    """Return whether *error* belongs to an outage of PostgreSQL, whose beginning and end are logged once."""
    return isinstance(error, TRANSIENT) and error.condition is not None


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
