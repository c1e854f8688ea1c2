"""The errors of the driver become those of the domain: some are an outage, others concern one statement."""

import socket

import asyncpg
import pytest

from headrace.adapters.database_errors import translate_database_error
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError, is_outage


def closed(cause: Exception | None) -> Exception:
    error = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    error.__cause__ = cause
    return error


IDLE = asyncpg.IdleInTransactionSessionTimeoutError("terminating connection")


@pytest.mark.parametrize("error", [IDLE, closed(IDLE)], ids=["alone", "as_a_statement_is_sent"])
def test_a_transaction_that_was_idle_for_too_long_is_no_outage(error: Exception) -> None:
    translated = translate_database_error(error)

    assert type(translated) is DatabaseBusyError
    assert not is_outage(translated)


@pytest.mark.parametrize(
    "error",
    [closed(None), closed(asyncpg.AdminShutdownError("terminating connection"))],
    ids=["cut", "shutdown"],
)
def test_a_connection_that_was_closed_otherwise_is_an_outage(error: Exception) -> None:
    translated = translate_database_error(error)

    assert type(translated) is DatabaseAwayError
    assert is_outage(translated)


def test_a_host_that_no_name_server_knows_is_an_outage_that_says_so() -> None:
    translated = translate_database_error(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))

    assert type(translated) is DatabaseAwayError
    assert translated.reason == "its host cannot be found: Name or service not known"
