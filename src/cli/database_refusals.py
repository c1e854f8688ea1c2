"""Login errors of PostgreSQL that a retry cannot repair: a wrong role, password or database name."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import PostgresError

from headrace.adapters.sqlstates import judge
from headrace.cli.errors import DatabaseRefusedError
from headrace.domain.database import DatabaseMisconfiguredError


@contextmanager
def translate_refusals() -> Iterator[None]:
    """Turn a login error of PostgreSQL into one line for the user.

    Raises:
        DatabaseRefusedError: in place of that error.
    """
    try:
        yield
    except DatabaseMisconfiguredError as error:
        raise DatabaseRefusedError(error.reason) from error
    except PostgresError as error:
        if judge(error.sqlstate) != "misconfigured":
            raise
        raise DatabaseRefusedError(str(error)) from error
