"""Answers errors as RFC 9457 problems."""

import re
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from msgspec import Struct

from headrace.adapters.fair_turns import TooManyAtOnceError
from headrace.api.database_errors import DATABASE_ERRORS, classify_database_error, missing_reference
from headrace.api.error_codes import CODES
from headrace.api.errors import InvalidInputError, RangeError
from headrace.api.middleware.query_names import UnknownParametersError
from headrace.api.middleware.rate_limits import RateLimitedError
from headrace.api.missing_paths import describe_missing
from headrace.api.path_prefix import with_prefix
from headrace.api.schemas import Problem, ProblemError
from headrace.domain.accounts.caller import UnauthenticatedError
from headrace.domain.conflicts import TakenError
from headrace.domain.cursors import CursorInvalidError
from headrace.domain.database import TRANSIENT, is_outage
from headrace.domain.errors import HeadraceError
from headrace.domain.json_limits import JsonRefusedError
from headrace.domain.paging import OffsetTooLargeError
from headrace.domain.pipelines.service import ParamsInvalidError
from headrace.domain.quotas.quotas import QuotaExceededError
from headrace.domain.redaction import redact

_log = structlog.get_logger(__name__)

_INTERNAL: Final = (500, "internal_error")
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
# How msgspec writes the path of a value behind its message.
_FAULT: Final = re.compile(r"^(?P<message>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN_FIELD: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MAX_PATH_LENGTH: Final = 300
_MAX_MESSAGE_LENGTH: Final = 500
_RETRY_SECONDS: Final = {429: "2", 503: "2", 507: "60"}
# Litestar answers this with 500, but the client is at fault.
_BODY_BROKE_OFF: Final = "client disconnected prematurely"


class _Refusal(Struct, frozen=True):
    """The fields of a problem response."""

    status: int
    code: str
    detail: str
    faults: list[ProblemError] | None = None
    quota: QuotaExceededError | None = None


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer *error* as a problem."""
    missing = missing_reference(error)
    if isinstance(missing, UnauthenticatedError):
        request.app.state.services.authenticator.forget_local_user()
    error = missing or error
    if isinstance(error, HeadraceError):
        refusal = _refuse_domain_error(error)
    elif isinstance(error, ValidationException) and _has_no_body(request):
        refusal = _Refusal(400, "malformed", "the body is missing")
    elif isinstance(error, ValidationException):
        refusal = _Refusal(422, "validation_failed", "the request does not fit", _faults_of(error))
    elif isinstance(error, HTTPException):
        refusal = _refuse_http_error(error, str(request.scope.get("path", "")))
    elif isinstance(error, SerializationException):
        refusal = _Refusal(400, "malformed", "the body is not JSON")
    elif isinstance(error, RecursionError | UnicodeDecodeError):
        refusal = _Refusal(400, "malformed", "the body is not UTF-8, or nested too deep")
    elif isinstance(error, DATABASE_ERRORS) and (classified := classify_database_error(error)) is not None:
        refusal = _Refusal(*classified)
    else:
        refusal = _report_bug(error)
    return _answer(request, refusal, _headers_for(error, refusal.status))


def code_of(error: HeadraceError) -> str:
    """Return the stable code of a domain error, for answers without a status."""
    return CODES.get(type(error), _INTERNAL)[1]


def _has_no_body(request: Request[Any, Any, Any]) -> bool:
    is_sent = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return request.method in ("POST", "PUT", "PATCH") and not is_sent


def _refuse_domain_error(error: HeadraceError) -> _Refusal:
    if isinstance(error, UnauthenticatedError):
        return _Refusal(401, error.code, str(error))
    if isinstance(error, InvalidInputError):
        return _Refusal(422, error.code, str(error), [ProblemError(error.path, str(error))])
    status, code = CODES.get(type(error), _INTERNAL)
    if status == 500:
        return _report_bug(error)
    is_of_caller = isinstance(error, TooManyAtOnceError)
    if isinstance(error, TRANSIENT) and not is_of_caller and not is_outage(error):
        _log.warning("statement_rolled_back", reason=error.reason)
    faults = None
    if isinstance(error, ParamsInvalidError | UnknownParametersError):
        faults = [ProblemError(fault.path, fault.message) for fault in error.faults]
    elif isinstance(error, TakenError | JsonRefusedError):
        faults = [ProblemError(error.path, str(error))]
    elif isinstance(error, CursorInvalidError | OffsetTooLargeError):
        faults = [ProblemError(f"query.{error.parameter}", str(error))]
    quota = error if isinstance(error, QuotaExceededError) else None
    return _Refusal(status, code, str(error), faults, quota)


def _refuse_http_error(error: HTTPException, path: str) -> _Refusal:
    status = error.status_code
    if status >= 500 and error.detail == _BODY_BROKE_OFF:
        return _Refusal(400, "malformed", "the body breaks off")
    if status >= 500:
        return _report_bug(error)
    cause = (
        error.__cause__.__cause__ if isinstance(error.__cause__, SerializationException) else error.__cause__
    )
    if isinstance(cause, msgspec.ValidationError):
        return _Refusal(422, "validation_failed", "the request does not fit", [_parse_fault(str(cause))])
    if isinstance(cause, msgspec.DecodeError | RecursionError | UnicodeDecodeError):
        return _Refusal(400, "malformed", "the body is not JSON, or nested too deep")
    detail = describe_missing(path) if status == 404 else error.detail
    return _Refusal(status, _STATUS_CODES.get(status, "bad_request"), detail)


def _report_bug(error: Exception) -> _Refusal:
    incident = uuid4().hex[:12]
    _log.error("request_failed", incident=incident, exc_info=error)
    return _Refusal(*_INTERNAL, f"something went wrong; it is logged as incident {incident}")


def _parse_fault(text: str) -> ProblemError:
    match = _FAULT.match(text)
    path = (match and match["path"]) or "$"
    message = (match["message"] if match else text)[:_MAX_MESSAGE_LENGTH]
    return ProblemError(path + _unknown_field(message), message)


def _unknown_field(message: str) -> str:
    """Return the last part of the path if msgspec names a field that an object must not have."""
    match = _UNKNOWN_FIELD.fullmatch(message)
    return "" if match is None else f".{match['name']}"


def _faults_of(error: ValidationException) -> list[ProblemError]:
    faults = []
    for fault in error.extra if isinstance(error.extra, list) else []:
        match = _FAULT.match(str(fault.get("message", "")))
        message = match["message"] if match else ""
        below = ((match["path"] if match else None) or "$").removeprefix("$") + _unknown_field(message)
        key = str(fault.get("key") or "")
        source = fault.get("source") or "body"
        source = str(getattr(source, "value", source))
        if source == "body":
            path = "$" + (below or (f".{key}" if key and key != "data" else ""))
        else:
            path = f"{source}.{key}{below}"
        faults.append(ProblemError(path, message[:_MAX_MESSAGE_LENGTH]))
    return faults or [ProblemError("$", error.detail[:_MAX_MESSAGE_LENGTH])]


def _headers_for(error: Exception, status: int) -> dict[str, str]:
    headers = {"Retry-After": _RETRY_SECONDS[status]} if status in _RETRY_SECONDS else {}
    if isinstance(error, RateLimitedError | QuotaExceededError) and status == 429:
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


def _answer(request: Request[Any, Any, Any], refusal: _Refusal, headers: dict[str, str]) -> Response[bytes]:
    problem = Problem(
        type=f"urn:headrace:problem:{refusal.code}",
        title=HTTPStatus(refusal.status).phrase,
        status=refusal.status,
        # A credential that was sent in the wrong place must not end up in the client's log.
        detail=redact(refusal.detail[:_MAX_MESSAGE_LENGTH]),
        code=refusal.code,
        instance=redact(with_prefix(request.scope, request.scope.get("path", ""))[:_MAX_PATH_LENGTH]),
        errors=None
        if refusal.faults is None
        else [
            ProblemError(redact(fault.path)[:_MAX_PATH_LENGTH], redact(fault.message))
            for fault in refusal.faults
        ],
    )
    if refusal.quota is not None:
        problem.quota, problem.used = refusal.quota.quota, refusal.quota.used
        problem.limit = refusal.quota.limit
    return Response(
        msgspec.json.encode(problem),
        status_code=refusal.status,
        media_type="application/problem+json",
        headers=headers,
    )
