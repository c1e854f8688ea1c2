"""Classifies errors of PostgreSQL: it is unavailable, it refused a value, a reference is gone, or a bug."""

from collections.abc import Iterator
from typing import Final

import structlog
from asyncpg import ForeignKeyViolationError, InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from headrace.adapters.sqlstates import judge
from headrace.api.errors import ReferenceGoneError
from headrace.domain.accounts.caller import UnauthenticatedError
from headrace.domain.database import TRANSIENT
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

# asyncpg raises its own errors while it connects; later errors come wrapped by SQLAlchemy. It raises the last
# one if a server that shuts down ends the connection at that moment.
_CONNECTION_ERRORS: Final = (PoolTimeoutError, OSError, InterfaceError, InternalClientError)
DATABASE_ERRORS: Final = (DBAPIError, PostgresError, *_CONNECTION_ERRORS)
DATABASE_TROUBLE: Final = (*TRANSIENT, *DATABASE_ERRORS)
"""Every error of PostgreSQL. A loop or an open stream that meets one tries again; none ends the API."""

_CONSTRAINT_VIOLATION: Final = "23"
_MAX_CAUSES: Final = 10


def classify_database_error(error: Exception) -> tuple[int, str, str] | None:
    """Return status, code and detail for one of the `DATABASE_ERRORS`; None when the error is a bug."""
    sqlstate = str(getattr(getattr(error, "orig", error), "sqlstate", "") or "")
    judgement = judge(sqlstate)
    # A service refuses values that break a constraint by themselves; else it is a bug.
    if judgement == "value" and not sqlstate.startswith(_CONSTRAINT_VIOLATION):
        return 422, "value_not_storable", "a value in the request cannot be stored"
    is_unavailable = isinstance(error, _CONNECTION_ERRORS) or (
        isinstance(error, DBAPIError) and (error.connection_invalidated or not sqlstate)
    )
    if is_unavailable or judgement not in ("value", "bug"):
        _log.warning("postgresql_away", error=type(error).__name__, sqlstate=sqlstate or None)
        return 503, "database_unavailable", "PostgreSQL is not available"
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
