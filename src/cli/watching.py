"""The frames of a job, each event once and in order, whatever happens to the connection."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from cli.api_client import ApiClient
from cli.errors import GaveUpError, UnreachableError, WatchRefusedError

# The service says something at least every 10 s.
_SILENCE_SECONDS: Final = 30.0
_FIRST_PATIENCE_SECONDS: Final = 2.0
_SHORTEST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_NOT_ALLOWED, _NO_JOB, _BAD_CURSOR = 4401, 4404, 4400


class Frame(Struct, frozen=True):
    """One frame as it was sent, and what it says."""

    raw: bytes
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("type", ""))


class Watch:
    """One watcher. *cursor* is the newest event that was handed out, and stays right however it ends."""

    def __init__(
        self,
        api: ApiClient,
        job_id: str,
        *,
        after: int,
        patience_seconds: float,
        tell: Callable[[str | None], None] = lambda _: None,
        was_reached: bool = False,
    ) -> None:
        """*tell* hears why the connection is gone, and None once it is back.

        A service that never answered gets less patience than one that was there, as *was_reached* says.
        """
        self.cursor = after
        self._api = api
        self._job_id = job_id
        self._patience = patience_seconds
        self._tell = tell
        self._reached = was_reached
        self._away_since: float | None = None
        self._pause = _SHORTEST_PAUSE
        self._asked_pause: float | None = None
        self._deleted = False

    async def frames(self) -> AsyncIterator[Frame]:
        """Every frame up to `end`.

        Raises:
            WatchRefusedError: there is no such job, or no such event.
            GaveUpError: the service was away for longer than the patience.
            UnreachableError: it was never there.
        """
        while True:
            try:
                async with self._connect() as socket:
                    async for frame in self._receive(socket):
                        yield frame
                        if frame.kind == "end":
                            return
                why = "the connection was closed"
            except ConnectionClosed as error:
                self._raise_refusal(error)
                why = "the connection was lost"
            except InvalidStatus as error:
                status = error.response.status_code
                if status < 500 and status != 429:
                    raise WatchRefusedError(f"{self._api.url} answers {status}: it is no Headrace") from error
                why = f"{self._api.url} answers {status}"
            except InvalidURI as error:
                raise WatchRefusedError(f"{self._api.url} cannot be watched: {error}") from error
            except (OSError, TimeoutError, WebSocketException):
                why = f"{self._api.url} does not answer"
            await self._wait(why)

    def _connect(self) -> connect:
        return connect(
            self._api.job_socket(self._job_id, self.cursor),
            additional_headers=self._api.headers,
            proxy=None if self._api.is_local else True,
            compression=None,
            max_size=None,
            open_timeout=10,
            close_timeout=1,
        )

    async def _receive(self, socket: ClientConnection) -> AsyncIterator[Frame]:
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await socket.recv(decode=False)
            for frame in split(message):
                if self._away_since is not None and self._reached:
                    self._tell(None)
                self._reached, self._away_since, self._pause = True, None, _SHORTEST_PAUSE
                seq = frame.body.get("seq")
                if seq is None:
                    self._heed(frame)
                elif seq == self.cursor + 1:
                    self.cursor = seq
                elif seq <= self.cursor:
                    continue
                else:  # never seen; ask again from where we are
                    return
                yield frame

    def _heed(self, frame: Frame) -> None:
        if frame.kind == "bye":
            self._asked_pause = min(float(frame.body.get("retry_after") or 0), _LONGEST_PAUSE * 6)
        elif frame.kind == "error" and frame.body.get("code") == "job_deleted":
            self._deleted = True

    def _raise_refusal(self, error: ConnectionClosed) -> None:
        code = error.rcvd.code if error.rcvd else None
        reason = error.rcvd.reason if error.rcvd else ""
        if code == _NO_JOB:
            gone = "was deleted" if self._deleted else "does not exist"
            raise WatchRefusedError(f"there is no job {self._job_id}: it {gone}") from error
        if code == _BAD_CURSOR:
            raise WatchRefusedError(reason or f"the job has no event {self.cursor} yet") from error
        if code == _NOT_ALLOWED:
            raise WatchRefusedError("not signed in: set HEADRACE_TOKEN to a valid token") from error

    async def _wait(self, why: str) -> None:
        """Pause before the next try, longer each time and not all at once, as long as there is hope."""
        now = time.monotonic()
        is_news = self._away_since is None
        self._away_since = self._away_since or now
        away = now - self._away_since
        patience = self._patience if self._reached else min(self._patience, _FIRST_PATIENCE_SECONDS)
        pause = self._asked_pause or random.uniform(self._pause / 2, self._pause)  # noqa: S311
        self._asked_pause = None
        if away + pause > patience:
            if not self._reached:
                raise UnreachableError(self._api.url)
            raise GaveUpError(self._api.url, away, self._job_id, self.cursor)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        if is_news and self._reached:
            self._tell(why)
        await asyncio.sleep(pause)


def split(message: bytes) -> list[Frame]:
    """The frames of one message: one, or a JSON array of them; each with the very bytes that were sent."""
    raws = msgspec.json.decode(message, type=list[msgspec.Raw]) if message[:1] == b"[" else [message]
    return [Frame(bytes(raw), msgspec.json.decode(raw)) for raw in raws]
