"""Errors on their way out: the only place that knows status codes. Every error is an RFC 9457 problem."""

import re
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from asyncpg import ForeignKeyViolationError, InterfaceError, PostgresError
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from headrace.api.error_codes import CODES
from headrace.api.errors import (
    InvalidInputError,
    RangeError,
    ReferenceGoneError,
)
from headrace.api.middleware.rate_limits import RateLimitedError
from headrace.api.schemas import Problem, ProblemError
from headrace.domain.accounts.caller import UnauthenticatedError
from headrace.domain.conflicts import TakenError
from headrace.domain.database import DatabaseAwayError
from headrace.domain.errors import HeadraceError
from headrace.domain.json_bounds import ValueTooLargeError
from headrace.domain.pipelines.service import ParamsInvalidError
from headrace.domain.redaction import redacted

_log = structlog.get_logger(__name__)


_STATUS_CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "validation_failed",
    429: "too_many_requests",
}
_AT: Final = re.compile(r"^(?P<message>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_LONGEST_PATH: Final = 300
_RETRY_SECONDS: Final = "2"
_GONE: Final = "client disconnected prematurely"
# A refused connection comes as asyncpg's own error, everything later in SQLAlchemy's wrapping.
DATABASE_ERRORS: Final = (DBAPIError, PoolTimeoutError, OSError, PostgresError, InterfaceError)
_DATA_EXCEPTION: Final = "22"
# Connection, resources, deadlock, lock, shutdown: what passes by itself.
_AWAY_CLASSES: Final = ("08", "40", "53", "55", "57")


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer *error* as a problem."""
    error = _reference_told(error)
    if isinstance(error, HeadraceError):
        status, code, detail, faults = _of_domain(error)
    elif isinstance(error, ValidationException) and _has_no_body(request):
        status, code, detail, faults = 400, "malformed", "the body is missing", None
    elif isinstance(error, ValidationException):
        status, code, detail, faults = 422, "validation_failed", "the request does not fit", _faults(error)
    elif isinstance(error, HTTPException):
        status, code, detail, faults = _of_http(error)
    elif isinstance(error, SerializationException):
        status, code, detail, faults = 400, "malformed", "the body is not JSON", None
    elif isinstance(error, RecursionError | UnicodeDecodeError):
        status, code, detail, faults = 400, "malformed", "the body is not UTF-8, or nested too deep", None
    elif isinstance(error, DATABASE_ERRORS):
        status, code, detail, faults = _of_database(error)
    else:
        status, code, detail, faults = _unforeseen(error)
    return _answer(request, status, code, detail, faults, _headers(error, status))


def _reference_told(error: Exception) -> Exception:
    """What a row refers to is gone since the request began: the account of its owner, or another object."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ForeignKeyViolationError):
        cause = getattr(cause, "orig", None) or cause.__cause__
    if cause is None:
        return error
    if str(cause.constraint_name).endswith("_users"):
        return UnauthenticatedError("token_invalid", "the account is gone")
    return ReferenceGoneError("what the request refers to was deleted meanwhile")


def code_of(error: HeadraceError) -> str:
    """The stable code of an error of the domain, where no status goes with it."""
    return CODES.get(type(error), (500, "internal_error"))[1]


def _has_no_body(request: Request[Any, Any, Any]) -> bool:
    is_sent = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return request.method in ("POST", "PUT", "PATCH") and not is_sent


def _of_domain(error: HeadraceError) -> tuple[int, str, str, list[ProblemError] | None]:
    if isinstance(error, UnauthenticatedError):
        return 401, error.code, str(error), None
    if isinstance(error, InvalidInputError):
        return 422, error.code, str(error), [ProblemError(error.path, str(error))]
    status, code = CODES.get(type(error), (500, "internal_error"))
    if status == 500:
        return _unforeseen(error)
    if isinstance(error, DatabaseAwayError):
        _log.warning("postgresql_away", error=type(error).__name__, reason=error.reason)
    faults = None
    if isinstance(error, ParamsInvalidError):
        faults = [ProblemError(fault.path, fault.message) for fault in error.faults]
    elif isinstance(error, TakenError | ValueTooLargeError):
        faults = [ProblemError(error.path, str(error))]
    return status, code, str(error), faults


def _of_http(error: HTTPException) -> tuple[int, str, str, list[ProblemError] | None]:
    status = error.status_code
    if status >= 500 and error.detail == _GONE:
        return 400, "malformed", "the body breaks off", None
    if status >= 500:
        return _unforeseen(error)
    cause = (
        error.__cause__.__cause__ if isinstance(error.__cause__, SerializationException) else error.__cause__
    )
    if isinstance(cause, msgspec.ValidationError):
        return 422, "validation_failed", "the request does not fit", [_fault(str(cause))]
    if isinstance(cause, msgspec.DecodeError | RecursionError | UnicodeDecodeError):
        return 400, "malformed", "the body is not JSON, or nested too deep", None
    detail = "there is nothing here" if status == 404 else error.detail
    return status, _STATUS_CODES.get(status, "bad_request"), detail, None


def _of_database(error: Exception) -> tuple[int, str, str, list[ProblemError] | None]:
    known = judge_database(error)
    return _unforeseen(error) if known is None else (*known, None)


def judge_database(error: Exception) -> tuple[int, str, str] | None:
    """Status, code and sentence for one of the `DATABASE_ERRORS`; None where the fault is ours."""
    state = str(getattr(getattr(error, "orig", error), "sqlstate", "") or "")
    if state.startswith(_DATA_EXCEPTION):
        return 422, "value_not_storable", "a value in the request cannot be stored"
    is_away = isinstance(error, PoolTimeoutError | OSError | InterfaceError) or (
        isinstance(error, DBAPIError) and (error.connection_invalidated or not state)
    )
    if is_away or state.startswith(_AWAY_CLASSES):
        _log.warning("postgresql_away", error=type(error).__name__, sqlstate=state or None)
        return 503, "database_unavailable", "PostgreSQL is not available"
    return None


def _unforeseen(error: Exception) -> tuple[int, str, str, list[ProblemError] | None]:
    incident = uuid4().hex[:12]
    _log.error("request_failed", incident=incident, exc_info=error)
    return 500, "internal_error", f"something went wrong; it is logged as incident {incident}", None


def _fault(text: str) -> ProblemError:
    match = _AT.match(text)
    return ProblemError((match and match["path"]) or "$", (match["message"] if match else text)[:500])


def _faults(error: ValidationException) -> list[ProblemError]:
    faults = []
    for one in error.extra if isinstance(error.extra, list) else []:
        match = _AT.match(str(one.get("message", "")))
        message = match["message"] if match else ""
        below = ((match["path"] if match else None) or "$").removeprefix("$")
        key = str(one.get("key") or "")
        source = one.get("source") or "body"
        source = str(getattr(source, "value", source))
        if source == "body":
            path = "$" + (below or (f".{key}" if key and key != "data" else ""))
        else:
            path = f"{source}.{key}{below}"
        faults.append(ProblemError(path, message[:500]))
    return faults or [ProblemError("$", error.detail[:500])]


def _headers(error: Exception, status: int) -> dict[str, str]:
    headers = {"Retry-After": _RETRY_SECONDS} if status in (429, 503) else {}
    if isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(error.retry_seconds)
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = (
            "Bearer"
            if error.code == "token_missing"
            else f'Bearer error="invalid_token", error_description="{error.code}"'
        )
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, HTTPException) and error.headers:
        headers |= {
            name: value
            for name, value in error.headers.items()
            if name.lower() in ("allow", "www-authenticate")
        }
    return headers


def _answer(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    detail: str,
    faults: list[ProblemError] | None,
    headers: dict[str, str],
) -> Response[bytes]:
    problem = Problem(
        type=f"urn:headrace:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        # Whoever sent a credential by mistake should not find it in the log of a client.
        detail=redacted(detail),
        code=code,
        instance=redacted(str(request.scope.get("path", ""))[:_LONGEST_PATH]),
        errors=None
        if faults is None
        else [
            ProblemError(redacted(fault.path)[:_LONGEST_PATH], redacted(fault.message)) for fault in faults
        ],
    )
    return Response(
        msgspec.json.encode(problem),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )
