"""Where a watcher stands: what each frame means for it, and what each end of a connection. Pure.

The clock is an argument, and nothing is read or sent here: both clients follow these rules.
"""

from collections.abc import Callable
from typing import Final

from headrace_client.backoff import LONGEST_ASKED_SECONDS, Backoff
from headrace_client.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace_client.frames import AnyFrame, Beat, Bye, End, Event, Refusal

NOT_SIGNED_IN, NO_JOB, BAD_CURSOR = 4401, 4404, 4400
_NEWS: Final = (Event, Beat)
# A service heals its own gaps; one that comes again and again is none that heals.
_MOST_GAPS: Final = 8


class GapError(Exception):
    """An event is missing before the one that came: ask again from the cursor."""


class Position:
    """One watcher of one job. *cursor*, the newest event that was handed on, stays right however it ends."""

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
        """The service may be away for *patience* seconds; a *first_patience* counts before it ever answered.

        *tell* hears why the connection is gone, and None once it is back.
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
        self._asked_pause: float | None = None
        self._gaps = 0
        self._is_deleted = False

    def take(self, frame: AnyFrame) -> bool:
        """Move on by *frame*; returns whether to hand it on. Each event is handed on once, and in order.

        Raises:
            GapError: it is not the next event.
            WatchRefusedError: the next event is still missing after that was said often enough.
        """
        if self._away_since is not None and self._reached:
            self._tell(None)
        self._reached, self._away_since = True, None
        match frame:
            case Event(seq=seq) if seq <= self.cursor:
                return False
            case Event(seq=seq) if seq > self.cursor + 1:
                self._gaps += 1
                raise self._still_missing() if self._gaps == _MOST_GAPS else GapError
            case Event(seq=seq):
                self.cursor = seq
                self._gaps = 0
            case Bye(retry_after=seconds):
                self._asked_pause = min(max(seconds, 0.0), LONGEST_ASKED_SECONDS)
            case Refusal(code="job_deleted"):
                self._is_deleted = True
            case End():
                self.is_over = True
        # A service that says hello and dies must not be asked again and again without a pause.
        if isinstance(frame, _NEWS):
            self._backoff.reset()
        return True

    def _still_missing(self) -> WatchRefusedError:
        told = f"event {self.cursor + 1} of job {self.job_id} never came"
        return WatchRefusedError(self.job_id, "event_missing", told)

    def refusal(self, code: int | None, reason: str) -> WatchRefusedError | None:
        """What a close code means; None: come back later."""
        if code == NO_JOB:
            gone = ("job_deleted", "was deleted") if self._is_deleted else ("job_not_found", "does not exist")
            return WatchRefusedError(self.job_id, gone[0], f"there is no job {self.job_id}: it {gone[1]}")
        if code == BAD_CURSOR:
            told = reason or f"the job has no event {self.cursor} yet"
            return WatchRefusedError(self.job_id, "cursor_beyond_head", told)
        if code == NOT_SIGNED_IN:
            return WatchRefusedError(self.job_id, "unauthenticated", "not signed in: a valid token is needed")
        return None

    def no_service(self, status: int) -> WatchRefusedError | None:
        """What a refused handshake means; None: come back later."""
        if status >= 500 or status == 429:
            return None
        told = f"{self._url} answers {status}: it is no Headrace"
        return WatchRefusedError(self.job_id, "not_headrace", told)

    def lost(self, why: str, now: float) -> float:
        """The connection is gone; returns the pause before the next one.

        Raises:
            GaveUpError: the service was away for longer than the patience.
            UnreachableError: it was never there.
        """
        is_news = self._away_since is None
        self._away_since = now if self._away_since is None else self._away_since
        away = now - self._away_since
        pause = self._backoff.pause() if self._asked_pause is None else self._asked_pause
        self._asked_pause = None
        if away + pause > (self._patience if self._reached else self._first_patience):
            if not self._reached:
                raise UnreachableError(self._url)
            raise GaveUpError(self._url, self.job_id, away, self.cursor)
        if is_news and self._reached:
            self._tell(why)
        return pause
