"""The frames of a job as the screens take them, and what ends them early in the words of the command."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

import headrace_client
from headrace.cli.api_client import ApiClient
from headrace.cli.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace_client import AsyncWatch

_FIRST_PATIENCE_SECONDS: Final = 2.0


class ReceivedFrame(Struct, frozen=True):
    """One frame as it was sent, and what it says."""

    raw: bytes
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("type", ""))


class JobWatch:
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
        self._api = api
        self._job_id = job_id
        self._after = after
        self._patience = patience_seconds
        self._first_patience = patience_seconds if was_reached else _FIRST_PATIENCE_SECONDS
        self._tell = tell
        self._frames: AsyncWatch | None = None

    @property
    def cursor(self) -> int:
        return self._after if self._frames is None else self._frames.cursor

    async def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Every frame up to `end`.

        Raises:
            WatchRefusedError: there is no such job, or no such event.
            GaveUpError: the service was away for longer than the patience.
            UnreachableError: it was never there.
        """
        try:
            async with self._api.open_async() as client:
                self._frames = client.watch(
                    self._job_id,
                    self._after,
                    patience=self._patience,
                    first_patience=self._first_patience,
                    tell=self._tell,
                )
                async with self._frames as frames:
                    async for _ in frames:
                        yield ReceivedFrame(frames.raw, msgspec.json.decode(frames.raw))
        except headrace_client.WatchRefusedError as error:
            raise WatchRefusedError(_told(error)) from error
        except headrace_client.GaveUpError as error:
            raise GaveUpError(error.url, error.seconds, error.job_id, error.after) from error
        except headrace_client.UnreachableError as error:
            raise UnreachableError(error.url, error.reason) from error


def _told(error: headrace_client.WatchRefusedError) -> str:
    if error.code == "unauthenticated":
        return "not signed in: set HEADRACE_TOKEN to a valid token"
    return str(error)
