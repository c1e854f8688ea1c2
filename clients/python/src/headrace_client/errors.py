"""The errors of this client."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct


class HeadraceClientError(Exception):
    """The base class of every error of this client."""


class BadUrlError(HeadraceClientError, ValueError):
    """The URL is not that of a service."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url!r} is not the URL of a service; expected for example http://127.0.0.1:8000")
        self.url = url


class BadTokenError(HeadraceClientError, ValueError):
    """The token holds characters that an HTTP header cannot carry."""

    def __init__(self) -> None:
        super().__init__("the token holds a character that is not printable ASCII")


class Fault(Struct, frozen=True):
    """One invalid part of a request."""

    path: str
    message: str


class ApiError(HeadraceClientError):
    """The service answers with an error in the form of RFC 9457. *code* is stable.

    *retry_after* is the pause in seconds that the service requests, or None. With `quota_exceeded`, *used* of
    *limit* of the *quota* are in use; otherwise they are None.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[Fault] = (),
        retry_after: float | None = None,
        *,
        quota: str | None = None,
        used: int | None = None,
        limit: int | None = None,
    ) -> None:
        lines = [f"  {fault.path}: {fault.message}" for fault in errors]
        super().__init__("\n".join([detail, *lines]))
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.quota = quota
        self.used = used
        self.limit = limit


class UnreachableError(HeadraceClientError):
    """No Headrace answers at the URL."""

    def __init__(self, url: str, reason: str | None = None) -> None:
        super().__init__(f"no service at {url}" + (f" ({reason})" if reason else ""))
        self.url = url
        self.reason = reason


class WatchRefusedError(HeadraceClientError):
    """The job cannot be watched, and a retry does not help. *job_id* is None for a watch of all jobs.

    *code*: `job_not_found`, `job_deleted`, `cursor_beyond_head`, `event_missing`, `unauthenticated`,
    `forbidden`, `not_headrace`, or another code of the service, such as `validation_failed`.
    """

    def __init__(self, job_id: UUID | str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.job_id = None if job_id is None else str(job_id)
        self.code = code


class GaveUpError(HeadraceClientError):
    """The service was away for longer than the watch allows. To resume, watch from *after*.

    *reason* says what the last connection ended with.
    """

    def __init__(
        self, url: str, job_id: UUID | str | None, seconds: float, after: int, reason: str = ""
    ) -> None:
        cause = f" ({reason})" if reason else ""
        seen = "" if job_id is None else f"; job {job_id} was seen up to event {after}"
        super().__init__(f"{url} has been away for {seconds:.0f} s{cause}{seen}")
        self.url = url
        self.job_id = None if job_id is None else str(job_id)
        self.seconds = seconds
        self.after = after
        self.reason = reason


class WaitTimeoutError(HeadraceClientError, TimeoutError):
    """The job has not ended within the timeout; it continues."""

    def __init__(self, job_id: UUID | str) -> None:
        super().__init__(f"job {job_id} has not ended in time; it continues")
        self.job_id = str(job_id)


class SubmissionRefusedError(HeadraceClientError):
    """PostgreSQL refuses a job that was to be submitted in a transaction.

    *status* and *code* are those with which the API refuses such a job.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class ParamsRefusedError(SubmissionRefusedError):
    """The params of a job do not fit the schema of its pipeline. *errors* holds the faults."""

    def __init__(self, pipeline: str, errors: Sequence[Fault]) -> None:
        lines = [f"  {fault.path}: {fault.message}" for fault in errors]
        detail = f"the parameters do not fit pipeline {pipeline!r}"
        super().__init__(422, "params_invalid", "\n".join([detail, *lines]))
        self.errors = tuple(errors)


class ValidatorMissingError(HeadraceClientError):
    """The package that validates params is not installed."""

    def __init__(self) -> None:
        super().__init__("validate=True needs the package jsonschema-rs; install headrace-client[validate]")
