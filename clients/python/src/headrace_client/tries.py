"""Decides whether and when a call is retried, and turns its outcome into a result. Pure."""

from typing import Any, Final, TypeVar

import httpx
import msgspec

from headrace_client.backoff import MAX_REQUESTED_SECONDS, Backoff
from headrace_client.calls import Call
from headrace_client.errors import ApiError, Fault, UnreachableError

T = TypeVar("T")

_TEMPORARY_STATUSES: Final = (429, 503)
_GATEWAY_STATUSES: Final = (502, 504)
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""
    errors: list[Fault] | None = None
    quota: str | None = None
    used: int | None = None
    limit: int | None = None


class Tries:
    """The tries of one call, with at most *again* retries."""

    def __init__(self, url: str, call: Call[Any], again: int, backoff: Backoff | None = None) -> None:
        self._url = url
        self._call = call
        self._left = again
        self._backoff = backoff or Backoff()

    def after(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Return the pause in seconds before the next try; None if *outcome* is final."""
        if isinstance(outcome, httpx.Response):
            may_repeat = outcome.status_code in _TEMPORARY_STATUSES or (
                self._call.is_repeatable and outcome.status_code in _GATEWAY_STATUSES
            )
            requested = retry_after(outcome)
        else:
            # A call that may have arrived is retried only if it is idempotent.
            may_repeat = self._call.is_repeatable or isinstance(outcome, _NEVER_SENT)
            requested = None
        if not may_repeat or not self._left or (requested or 0) > MAX_REQUESTED_SECONDS:
            return None
        self._left -= 1
        pause = self._backoff.pause()
        return pause if requested is None else requested + pause

    def answer(self, outcome: httpx.Response | httpx.TransportError) -> bytes:
        """Return the body of a successful answer.

        Raises:
            ApiError: the service answers with an error.
            UnreachableError: the service does not answer in time.
        """
        if isinstance(outcome, httpx.Response):
            if outcome.is_success:
                return outcome.content
            raise refusal(outcome)
        if isinstance(outcome, httpx.ConnectError):
            reason = None
        elif isinstance(outcome, httpx.TimeoutException):
            reason = "it does not answer in time"
        else:
            reason = str(outcome).lower() or type(outcome).__name__
        raise UnreachableError(self._url, reason) from outcome

    def read(self, outcome: httpx.Response | httpx.TransportError, call: Call[T]) -> T:
        """Return the decoded answer. Raises the errors of `answer`."""
        content = self.answer(outcome)
        try:
            return call.read(content)
        except msgspec.DecodeError as error:
            raise UnreachableError(self._url, "the server is not Headrace") from error


def refusal(answer: httpx.Response) -> ApiError:
    """Return the error of an unsuccessful answer."""
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    summary = f"{answer.url} answers {answer.status_code} {answer.reason_phrase}"
    return ApiError(
        answer.status_code,
        problem.code,
        problem.detail or summary,
        problem.errors or (),
        retry_after(answer),
        quota=problem.quota,
        used=problem.used,
        limit=problem.limit,
    )


def retry_after(answer: httpx.Response) -> float | None:
    """Return the requested pause in seconds. Dates are ignored, because the service never sends one."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
