"""How often a call may be sent again, when, and what its answer is in the end. Sends nothing itself."""

from typing import Any, Final, TypeVar

import httpx
import msgspec

from headrace_client.backoff import LONGEST_ASKED_SECONDS, Backoff
from headrace_client.calls import Call
from headrace_client.errors import ApiError, Fault, UnreachableError

T = TypeVar("T")

_REFUSED_FOR_NOW: Final = (429, 503)
_LOST_ON_THE_WAY: Final = (502, 504)
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""
    errors: list[Fault] | None = None


class Tries:
    """The tries of one call: *again* more at most."""

    def __init__(self, url: str, call: Call[Any], again: int, backoff: Backoff | None = None) -> None:
        self._url = url
        self._call = call
        self._left = again
        self._backoff = backoff or Backoff()

    def after(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """The pause before the call is sent again; None: that is its outcome."""
        if isinstance(outcome, httpx.Response):
            may_repeat = outcome.status_code in _REFUSED_FOR_NOW or (
                self._call.is_repeatable and outcome.status_code in _LOST_ON_THE_WAY
            )
            asked = retry_after(outcome)
        else:
            # What may have arrived is sent again only where twice is the same as once.
            may_repeat = self._call.is_repeatable or isinstance(outcome, _NEVER_SENT)
            asked = None
        if not may_repeat or not self._left or (asked or 0) > LONGEST_ASKED_SECONDS:
            return None
        self._left -= 1
        pause = self._backoff.pause()
        return pause if asked is None else asked + pause

    def answer(self, outcome: httpx.Response | httpx.TransportError) -> bytes:
        """What a good answer holds.

        Raises:
            ApiError: the service says no.
            UnreachableError: nothing answers, or not in time.
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
        """The answer as *call* reads it; raises as `answer` does."""
        content = self.answer(outcome)
        try:
            return call.read(content)
        except msgspec.DecodeError as error:
            raise UnreachableError(self._url, "what answers is not Headrace") from error


def refusal(answer: httpx.Response) -> ApiError:
    """What the service says in place of what was asked for."""
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    told = f"{answer.url} answers {answer.status_code} {answer.reason_phrase}"
    return ApiError(
        answer.status_code, problem.code, problem.detail or told, problem.errors or (), retry_after(answer)
    )


def retry_after(answer: httpx.Response) -> float | None:
    """The pause in seconds that the service asks for; a date is not one that we send."""
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() else None
