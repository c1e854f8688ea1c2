"""The position of a watch, and how frames and lost connections change it. Pure.

Both clients follow these rules. The clock is an argument, and nothing is read or sent here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from headrace_client.backoff import MAX_REQUESTED_SECONDS, Backoff
from headrace_client.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace_client.frames import Beat, Bye, End, Event, Frame, Refusal
from headrace_client.refusals import (
    FINAL_CLOSES,
    FINAL_STATUSES,
    NORMAL,
    NOT_FOUND,
    NOT_SIGNED_IN,
    TEMPORARY_CLOSES,
    Problem,
    is_temporary,
)

_NEWS: Final = (Event, Beat)
# A reconnect repairs a gap. One that returns again and again is permanent.
_MAX_GAPS: Final = 8


class GapError(Exception):
    """An event is missing before the received one: reconnect from the cursor."""


class Reconnects:
    """When a watch reconnects, and when it ends. *subject* is the watched job, or None for all jobs."""

    def __init__(
        self,
        url: str,
        subject: str | None,
        *,
        patience: float,
        first_patience: float | None = None,
        tell: Callable[[str | None], None] = lambda _: None,
        backoff: Backoff | None = None,
    ) -> None:
        """Start. The service may be away for *patience* seconds.

        *first_patience* replaces it before the first answer. *tell* is called with each reason why there is
        no connection, and with None when it is back.
        """
        self.is_over = False
        self.subject = subject
        self.cursor = 0
        self._url = url
        self._patience = patience
        self._first_patience = patience if first_patience is None else min(first_patience, patience)
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._reached = False
        self._away_since: float | None = None
        self._told: str | None = None
        self._requested_pause: float | None = None
        self._last_error: Refusal | None = None

    @property
    def path(self) -> str:
        """The path of the socket below `/api/v1`."""
        raise NotImplementedError

    @property
    def query(self) -> Mapping[str, Any]:
        """The query of the next connection."""
        raise NotImplementedError

    def advance(self, frame: Frame) -> bool:
        """Advance by *frame*. Returns whether to pass it to the caller."""
        raise NotImplementedError

    def note(self, frame: Frame) -> None:
        """Note a received frame: the service answers."""
        if self._told is not None:
            self._tell(None)
        self._reached, self._away_since, self._told = True, None, None
        self._last_error = frame if isinstance(frame, Refusal) else None
        if isinstance(frame, Bye):
            self._requested_pause = min(max(frame.retry_after, 0.0), MAX_REQUESTED_SECONDS)

    def close_reason(self, code: int | None, reason: str) -> str:
        """Return why the socket was closed, if a reconnect helps.

        Raises:
            WatchRefusedError: a reconnect does not help.
        """
        error = self._last_error
        if code is None:
            return "the connection was lost"
        if code in FINAL_CLOSES:
            raise self._refusal(code, reason, error)
        if code in TEMPORARY_CLOSES:
            # The service has answered, even if no frame came.
            self._reached = True
            return reason or TEMPORARY_CLOSES[code]
        return "the connection was closed" if code == NORMAL else "the connection was lost"

    def status_reason(self, status: int, problem: Problem | None) -> str:
        """Return why a handshake was refused with *status*, if a reconnect helps.

        Raises:
            WatchRefusedError: a reconnect does not help.
        """
        if is_temporary(status):
            self._reached = self._reached or problem is not None
            return f"{self._url} answers {status}" if problem is None else problem.detail
        if problem is not None:
            raise WatchRefusedError(self.subject, problem.code, problem.detail)
        if status in FINAL_STATUSES:
            raise WatchRefusedError(self.subject, FINAL_STATUSES[status], f"{self._url} answers {status}")
        message = f"{self._url} answers {status}: it is not Headrace"
        raise WatchRefusedError(self.subject, "not_headrace", message)

    def lost(self, why: str, now: float) -> float:
        """Note a lost connection. Returns the pause in seconds before the next one.

        Raises:
            GaveUpError: the service was away for longer than *patience*.
            UnreachableError: the service has never answered.
        """
        self._away_since = now if self._away_since is None else self._away_since
        away = now - self._away_since
        pause = self._backoff.pause() if self._requested_pause is None else self._requested_pause
        self._requested_pause = None
        if away + pause > (self._patience if self._reached else self._first_patience):
            if not self._reached:
                raise UnreachableError(self._url)
            raise GaveUpError(self._url, self.subject, away, self.cursor, why)
        if self._reached and why != self._told:
            self._told = why
            self._tell(why)
        return pause

    def _renew(self, frame: Frame) -> None:
        # A service that dies after each `hello` must not be called again without a pause.
        if isinstance(frame, _NEWS):
            self._backoff.reset()

    def _refusal(self, code: int, reason: str, error: Refusal | None) -> WatchRefusedError:
        """Return the refusal of a close *code*, which the service may have explained by an *error* frame."""
        name = FINAL_CLOSES[code] if error is None else error.code
        if code == NOT_SIGNED_IN:
            why = error.message if error is not None else reason.replace("_", " ")
            message = "not signed in: a valid token is needed" + (f" ({why})" if why else "")
            return WatchRefusedError(self.subject, "unauthenticated", message)
        if code == NOT_FOUND and self.subject is not None:
            is_deleted = name == "job_deleted"
            what = "was deleted" if is_deleted else "does not exist"
            name = "job_deleted" if is_deleted else "job_not_found"
            return WatchRefusedError(self.subject, name, f"there is no job {self.subject}: it {what}")
        if code == NOT_FOUND:
            return WatchRefusedError(None, "user_not_found", reason or "there is no such user")
        message = reason or (error.message if error is not None else f"the service refuses with {code}")
        return WatchRefusedError(self.subject, name, message)


class Position(Reconnects):
    """The position of one watch. *cursor* is the number of the newest returned event, also after an error."""

    def __init__(self, url: str, job_id: str, after: int, **reconnects: Any) -> None:
        """Start after event *after*. *reconnects* are the other arguments of `Reconnects`."""
        super().__init__(url, job_id, **reconnects)
        self.cursor = after
        self.job_id = job_id
        self._gaps = 0

    @property
    def path(self) -> str:
        return f"/jobs/{quote(self.job_id, safe='')}/ws"

    @property
    def query(self) -> Mapping[str, Any]:
        return {"after": self.cursor}

    def advance(self, frame: Frame) -> bool:
        """Advance by *frame*. Returns whether to pass it to the caller: each event once, and in order.

        Raises:
            GapError: the frame is not the next event.
            WatchRefusedError: the next event is still missing after several reconnects.
        """
        self.note(frame)
        match frame:
            case Event(seq=seq) if seq <= self.cursor:
                return False
            case Event(seq=seq) if seq > self.cursor + 1:
                self._gaps += 1
                raise self._still_missing() if self._gaps == _MAX_GAPS else GapError
            case Event(seq=seq):
                self.cursor = seq
                self._gaps = 0
            case End():
                self.is_over = True
        self._renew(frame)
        return True

    def _still_missing(self) -> WatchRefusedError:
        message = f"event {self.cursor + 1} of job {self.job_id} never came"
        return WatchRefusedError(self.job_id, "event_missing", message)


class JobsPosition(Reconnects):
    """The state of a watch of all jobs. It has no cursor: each connection begins with the newest jobs."""

    def __init__(self, url: str, filters: Mapping[str, Any], **reconnects: Any) -> None:
        """Start with the jobs that match *filters*. *reconnects* are the other arguments of `Reconnects`."""
        super().__init__(url, None, **reconnects)
        self._filters = filters

    @property
    def path(self) -> str:
        return "/ws"

    @property
    def query(self) -> Mapping[str, Any]:
        return self._filters

    def advance(self, frame: Frame) -> bool:
        """Advance by *frame*, which is always passed to the caller."""
        self.note(frame)
        self._renew(frame)
        return True
