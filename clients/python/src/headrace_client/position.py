"""The position of a watch in the events of a job, and how frames and lost connections change it. Pure.

Both clients follow these rules. The clock is an argument, and nothing is read or sent here.
"""

from collections.abc import Callable
from typing import Final

from headrace_client.backoff import MAX_REQUESTED_SECONDS, Backoff
from headrace_client.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace_client.frames import AnyFrame, Beat, Bye, End, Event, Refusal

NOT_SIGNED_IN, NO_JOB, BAD_CURSOR = 4401, 4404, 4400
_NEWS: Final = (Event, Beat)
# A reconnect repairs a gap. One that returns again and again is permanent.
_MAX_GAPS: Final = 8


class GapError(Exception):
    """An event is missing before the received one: reconnect from the cursor."""


class Position:
    """The position of one watch. *cursor* is the number of the newest returned event, also after an error."""

    def __init__(
        self,
        url: str,
        job_id: str,
        after: int,
        *,
        patience: float,
        first_patience: float | None = None,
        tell: Callable[[str | None], None] = lambda _: None,
        backoff: Backoff | None = None,
    ) -> None:
        """Start after event *after*. The service may be away for *patience* seconds.

        *first_patience* replaces it before the first answer. *tell* is called with the reason when the
        connection is lost, and with None when it is back.
        """
        self.cursor = after
        self.is_over = False
        self.job_id = job_id
        self._url = url
        self._patience = patience
        self._first_patience = patience if first_patience is None else min(first_patience, patience)
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._reached = False
        self._away_since: float | None = None
        self._requested_pause: float | None = None
        self._gaps = 0
        self._is_deleted = False

    def advance(self, frame: AnyFrame) -> bool:
        """Advance by *frame*. Returns whether to pass it to the caller: each event once, and in order.

        Raises:
            GapError: the frame is not the next event.
            WatchRefusedError: the next event is still missing after several reconnects.
        """
        if self._away_since is not None and self._reached:
            self._tell(None)
        self._reached, self._away_since = True, None
        match frame:
            case Event(seq=seq) if seq <= self.cursor:
                return False
            case Event(seq=seq) if seq > self.cursor + 1:
                self._gaps += 1
                raise self._still_missing() if self._gaps == _MAX_GAPS else GapError
            case Event(seq=seq):
                self.cursor = seq
                self._gaps = 0
            case Bye(retry_after=seconds):
                self._requested_pause = min(max(seconds, 0.0), MAX_REQUESTED_SECONDS)
            case Refusal(code="job_deleted"):
                self._is_deleted = True
            case End():
                self.is_over = True
        # A service that dies after each `hello` must not be called again without a pause.
        if isinstance(frame, _NEWS):
            self._backoff.reset()
        return True

    def _still_missing(self) -> WatchRefusedError:
        message = f"event {self.cursor + 1} of job {self.job_id} never came"
        return WatchRefusedError(self.job_id, "event_missing", message)

    def refusal(self, code: int | None, reason: str) -> WatchRefusedError | None:
        """Return the refusal that a close code means; None means to reconnect."""
        if code == NO_JOB:
            deleted, unknown = ("job_deleted", "was deleted"), ("job_not_found", "does not exist")
            error_code, what = deleted if self._is_deleted else unknown
            return WatchRefusedError(self.job_id, error_code, f"there is no job {self.job_id}: it {what}")
        if code == BAD_CURSOR:
            message = reason or f"the job has no event {self.cursor} yet"
            return WatchRefusedError(self.job_id, "cursor_beyond_head", message)
        if code == NOT_SIGNED_IN:
            return WatchRefusedError(self.job_id, "unauthenticated", "not signed in: a valid token is needed")
        return None

    def no_service(self, status: int) -> WatchRefusedError | None:
        """Return the refusal that the status of a handshake means; None means to reconnect."""
        if status >= 500 or status == 429:
            return None
        message = f"{self._url} answers {status}: it is not Headrace"
        return WatchRefusedError(self.job_id, "not_headrace", message)

    def lost(self, why: str, now: float) -> float:
        """Note a lost connection. Returns the pause in seconds before the next one.

        Raises:
            GaveUpError: the service was away for longer than *patience*.
            UnreachableError: the service has never answered.
        """
        is_first_loss = self._away_since is None
        self._away_since = now if self._away_since is None else self._away_since
        away = now - self._away_since
        pause = self._backoff.pause() if self._requested_pause is None else self._requested_pause
        self._requested_pause = None
        if away + pause > (self._patience if self._reached else self._first_patience):
            if not self._reached:
                raise UnreachableError(self._url)
            raise GaveUpError(self._url, self.job_id, away, self.cursor)
        if is_first_loss and self._reached:
            self._tell(why)
        return pause
