"""Formats the errors of a query: the caller's mistakes in full, bugs only by the id of their incident."""

from typing import Any, Final
from uuid import uuid4

import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import StrawberryGraphQLError

from headrace.api.database_errors import DATABASE_ERRORS, classify_database_error
from headrace.api.errors import InvalidInputError
from headrace.api.problems import code_of
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

_INTERNAL: Final = "internal_error"


def format_error(error: GraphQLError) -> dict[str, Any]:
    """Return *error* as it stands in an answer, with a stable `code` in its `extensions`."""
    cause = _cause_of(error)
    if cause is None:
        is_syntax = isinstance(error, GraphQLSyntaxError)
        code = "syntax_error" if is_syntax else "validation_failed"
        return _formatted(error, error.message, {"code": code, **(error.extensions or {})})
    if isinstance(cause, InvalidInputError):
        return _formatted(error, str(cause), {"code": cause.code, "argument": cause.path})
    if isinstance(cause, HeadraceError) and (code := code_of(cause)) != _INTERNAL:
        return _formatted(error, str(cause), {"code": code})
    if isinstance(cause, DATABASE_ERRORS) and (classified := classify_database_error(cause)) is not None:
        _, code, message = classified
        return _formatted(error, message, {"code": code})
    incident = uuid4().hex[:12]
    _log.error("query_failed", incident=incident, path=error.path, exc_info=cause)
    return _formatted(error, "internal error", {"code": _INTERNAL, "incident": incident})


def _cause_of(error: GraphQLError) -> Exception | None:
    """Return the exception behind *error*; None when the query itself is at fault."""
    cause: Exception | None = error
    while isinstance(cause, GraphQLError) and not isinstance(cause, StrawberryGraphQLError):
        cause = cause.original_error
    return None if isinstance(cause, StrawberryGraphQLError) else cause


def _formatted(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    formatted: dict[str, Any] = {"message": message}
    if error.locations:
        formatted["locations"] = [
            {"line": location.line, "column": location.column} for location in error.locations
        ]
    if error.path:
        formatted["path"] = error.path
    return {**formatted, "extensions": extensions}
