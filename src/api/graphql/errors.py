"""What is told of an error in a query: the caller's own faults in full, ours by an incident alone."""

from typing import Any, Final
from uuid import uuid4

import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import StrawberryGraphQLError

from headrace.api.errors import InvalidInputError
from headrace.api.problems import DATABASE_ERRORS, code_of, judge_database
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

_INTERNAL: Final = "internal_error"


def tell(error: GraphQLError) -> dict[str, Any]:
    """*error* as it stands in an answer, with a stable `code` in its `extensions`."""
    cause = _cause(error)
    if cause is None:
        syntax = isinstance(error, GraphQLSyntaxError)
        found = {"code": "syntax_error" if syntax else "validation_failed", **(error.extensions or {})}
        return _told(error, error.message, found)
    if isinstance(cause, InvalidInputError):
        return _told(error, str(cause), {"code": cause.code, "argument": cause.path})
    if isinstance(cause, HeadraceError) and (code := code_of(cause)) != _INTERNAL:
        return _told(error, str(cause), {"code": code})
    if isinstance(cause, DATABASE_ERRORS) and (known := judge_database(cause)) is not None:
        _, code, message = known
        return _told(error, message, {"code": code})
    incident = uuid4().hex[:12]
    _log.error("query_failed", incident=incident, path=error.path, exc_info=cause)
    return _told(error, "internal error", {"code": _INTERNAL, "incident": incident})


def _cause(error: GraphQLError) -> Exception | None:
    """What was raised; None where it is the query itself that is at fault."""
    cause: Exception | None = error
    while isinstance(cause, GraphQLError) and not isinstance(cause, StrawberryGraphQLError):
        cause = cause.original_error
    return None if isinstance(cause, StrawberryGraphQLError) else cause


def _told(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"message": message}
    if error.locations:
        told["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        told["path"] = error.path
    return {**told, "extensions": extensions}
