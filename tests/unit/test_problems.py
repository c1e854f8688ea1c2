"""Errors of the database on their way out."""

import asyncpg
import pytest
from litestar.exceptions import InternalServerException
from litestar.testing import RequestFactory

from api.problems import handle


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (asyncpg.CannotConnectNowError("starting"), 503),
        (asyncpg.TooManyConnectionsError("full"), 503),
        (asyncpg.InterfaceError("connection is closed"), 503),
        (asyncpg.DeadlockDetectedError("deadlock"), 503),
        (asyncpg.UntranslatableCharacterError("nul"), 422),
        (asyncpg.UndefinedColumnError("ours"), 500),
        (ConnectionRefusedError(), 503),
        (InternalServerException("client disconnected prematurely"), 400),
        (ZeroDivisionError(), 500),
    ],
)
def test_what_passes_by_itself_is_503_and_what_is_ours_500(error: Exception, status: int) -> None:
    answer = handle(RequestFactory().get("/"), error)

    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status == 503)
