"""A socket that ends because of PostgreSQL says what is wrong: a query that takes too long is no outage."""

from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from headrace.adapters.database_errors import translate_database_error
from headrace.api.live.socket_transport import refuse_unavailable


class RecordedSocket:
    """A socket that records how it was closed."""

    closed: tuple[int, str] | None = None

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncpg.QueryCanceledError("canceling statement"), "longer than its time limit"),
        (asyncpg.DeadlockDetectedError("deadlock"), "PostgreSQL is busy"),
        (asyncpg.DiskFullError("full"), "the disk of PostgreSQL is full"),
        (ConnectionRefusedError(), "PostgreSQL is not available"),
    ],
)
async def test_the_reason_of_the_close_is_that_of_the_error(error: BaseException, words: str) -> None:
    socket: Any = RecordedSocket()
    translated = translate_database_error(error)
    assert translated is not None

    await refuse_unavailable(socket, translated)

    assert socket.closed is not None
    assert socket.closed[0] == 1013
    assert words in socket.closed[1]


async def test_an_error_that_the_engine_did_not_translate_is_told_without_its_words() -> None:
    socket: Any = RecordedSocket()

    await refuse_unavailable(socket, DBAPIError("SELECT 1", {}, Exception("secret")))

    assert socket.closed == (1013, "PostgreSQL is not available")
