"""Classifies the errors of PostgreSQL that its adapters leave: refused values, missing references, bugs."""

from collections.abc import Iterator
from typing import Final

from asyncpg import ForeignKeyViolationError, InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError

from headrace.adapters.database_errors import translate_database_error
from headrace.adapters.sqlstates import judge
from headrace.api.error_codes import CODES
from headrace.api.errors import ReferenceGoneError
from headrace.domain.accounts.caller import UnauthenticatedError
from headrace.domain.database import TRANSIENT
from headrace.domain.errors import HeadraceError

# asyncpg raises the last two for a connection that is used after its end.
DATABASE_ERRORS: Final = (DBAPIError, PostgresError, InterfaceError, InternalClientError)
DATABASE_TROUBLE: Final = (*TRANSIENT, *DATABASE_ERRORS)
"""Every error of PostgreSQL. A loop or an open stream that meets one tries again; none ends the API."""

_CONSTRAINT_VIOLATION: Final = "23"
_MAX_CAUSES: Final = 10


def classify_database_error(error: Exception) -> tuple[int, str, str] | None:
    """Return status, code and detail for one of the `DATABASE_ERRORS`; None when the error is a bug."""
    cause = getattr(error, "orig", None) or error
    if (translated := translate_database_error(cause.__cause__ or cause)) is not None:
        return *CODES[type(translated)], str(translated)
    sqlstate = str(getattr(cause, "sqlstate", "") or "")
    # A service refuses values that break a constraint by themselves; else it is a bug.
    if judge(sqlstate) == "value" and not sqlstate.startswith(_CONSTRAINT_VIOLATION):
        return 422, "value_not_storable", "a value in the request cannot be stored"
    return None


def missing_reference(error: Exception) -> HeadraceError | None:
    """Return the refusal for a broken foreign key: a referenced row was deleted while the request ran.

    None: *error* has another cause.
    """
    violation = next((cause for cause in _causes(error) if isinstance(cause, ForeignKeyViolationError)), None)
    if violation is None:
        return None
    if str(violation.constraint_name).endswith("_users"):
        return UnauthenticatedError("token_invalid", "the account is gone")
    return ReferenceGoneError("what the request refers to was deleted meanwhile")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and the causes behind it, at most `_MAX_CAUSES`: a chain of causes may be a circle."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = getattr(cause, "orig", None) or cause.__cause__
