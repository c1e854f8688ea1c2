"""Translates the errors of PostgreSQL's driver into the domain's: the only place that reads SQLSTATEs."""

import socket
from typing import Final

import asyncpg

from headrace.adapters.sqlstates import IDLE_IN_TRANSACTION, QUERY_CANCELED, judge, misconfiguration
from headrace.domain.conditions import Condition, Trouble
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseMisconfiguredError,
    DatabaseReadOnlyError,
    DatabaseRefusingError,
    DatabaseTimeoutError,
    OutOfConnectionsError,
    TimeLimitError,
    trouble_of,
)

# asyncpg raises the third when a connection breaks during a reply.
_CONNECTION_ERRORS: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
DRIVER_ERRORS: Final = (asyncpg.PostgresError, *_CONNECTION_ERRORS)
"""Every error that a connection raises for a statement that is valid."""
_BY_SQLSTATE: dict[str | None, type[DatabaseAwayError | DatabaseBusyError]] = {
    "25006": DatabaseReadOnlyError,  # read_only_sql_transaction
    "53100": DatabaseFullError,  # disk_full
    "53300": OutOfConnectionsError,  # too_many_connections
    QUERY_CANCELED: TimeLimitError,
}


def translate_database_error(error: BaseException) -> DatabaseAwayError | DatabaseBusyError | None:
    """Return the domain's error for one of the driver; None if the statement or its values are to blame."""
    if isinstance(error, asyncpg.PostgresError):
        # asyncpg raises that the connection was closed if the reply came as a statement was sent.
        cause = error.__cause__
        if isinstance(cause, asyncpg.PostgresError) and cause.sqlstate == IDLE_IN_TRANSACTION:
            return _translate_reply(cause)
        return _translate_reply(error)
    if isinstance(error, ValueError):  # asyncpg's error for a bad argument is an InterfaceError as well
        return None
    if isinstance(error, TimeoutError):
        return DatabaseTimeoutError(type(error).__name__)
    if isinstance(error, _CONNECTION_ERRORS):
        return DatabaseAwayError(_reason_of(error))
    return None


def _reason_of(error: BaseException) -> str:
    """Return a reason without an address: answers to requests contain it."""
    if isinstance(error, socket.gaierror):
        return f"its host cannot be found: {error.strerror}"
    return type(error).__name__


def trouble_of_check(error: DatabaseAwayError | DatabaseBusyError | asyncpg.PostgresError) -> Trouble:
    """Return what is wrong with PostgreSQL, by an error of a statement that only checks whether it serves."""
    if isinstance(error, asyncpg.PostgresError):
        return Trouble(Condition.REFUSING, f"{type(error).__name__}: {error}")
    return trouble_of(error) or Trouble(Condition.SLOW, error.reason)


def _translate_reply(error: asyncpg.PostgresError) -> DatabaseAwayError | DatabaseBusyError | None:
    reason = type(error).__name__
    if (kind := _BY_SQLSTATE.get(error.sqlstate)) is not None:
        return kind(reason)
    match judge(error.sqlstate):
        case "away":
            return DatabaseAwayError(reason)
        case "busy":
            return DatabaseBusyError(reason)
        case "refusing":
            return DatabaseRefusingError(reason)
        case "misconfigured":
            return DatabaseMisconfiguredError(str(error), misconfiguration(error.sqlstate))
        case _:
            return None
