"""Login errors of PostgreSQL that a retry cannot repair: a wrong role, password or database name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asyncpg import PostgresError

from headrace.adapters.sqlstates import judge, misconfiguration
from headrace.cli.errors import DatabaseRefusedError
from headrace.domain.database import DatabaseMisconfiguredError

_ADVICE: Final = {
    "wrong password": "correct it there, or in the file of HEADRACE_DATABASE_PASSWORD_FILE",
    "login refused": "correct the role there, or let pg_hba.conf admit it",
    "no such database": "create it, or correct its name",
    "missing rights": "the role that migrates needs CREATE on the schema, and owns the tables: name it there",
}


@contextmanager
def translate_refusals() -> Iterator[None]:
    """Turn a login error of PostgreSQL into one line for the user.

    Raises:
        DatabaseRefusedError: in place of that error.
    """
    try:
        yield
    except DatabaseMisconfiguredError as error:
        raise DatabaseRefusedError(_advise(error.reason, error.cause)) from error
    except PostgresError as error:
        if judge(error.sqlstate) != "misconfigured":
            raise
        raise DatabaseRefusedError(_advise(str(error), misconfiguration(error.sqlstate))) from error


def _advise(reason: str, cause: str) -> str:
    """Return *reason* with what helps against its *cause*. Reasons of our own say it themselves."""
    line, advice = reason.partition("\n")[0], _ADVICE.get(cause)
    return line if advice is None or "; " in line else f"{line}; {advice}"
