"""The frames of one job for the screens, with the errors of the command."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct

import headrace_client
from headrace.cli.api_client import ApiClient
from headrace.cli.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace_client import AsyncWatch

FIRST_CONNECT_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 60.0
"""How long the service may be away before a command gives up, unless its user says otherwise."""


class ReceivedFrame(Struct, frozen=True):
    """One frame: its bytes as they were sent, and its decoded body."""

    raw: bytes
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("type", ""))


class JobWatch:
    """A watch of one job. *cursor* is the number of the newest event returned, also after an error."""

    def __init__(
        self,
        api: ApiClient,
        job_id: str,
        *,
        after: int,
        patience_seconds: float,
        on_connection: Callable[[str | None], None] = lambda _: None,
        was_reached: bool = False,
    ) -> None:
        """Prepare the watch; `frames` connects.

        *on_connection* is called with the reason when the connection is lost, and with None when it is back.
        Without *was_reached* the first connection must succeed within 2 s.
        """
        self._api = api
        self._job_id = job_id
        self._after = after
        self._patience = patience_seconds
        self._first_patience = patience_seconds if was_reached else FIRST_CONNECT_SECONDS
        self._on_connection = on_connection
        self._frames: AsyncWatch | None = None

    @property
    def cursor(self) -> int:
        return self._after if self._frames is None else self._frames.cursor

    async def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Yield every frame up to `end`.

        Raises:
            WatchRefusedError: the job or the event does not exist.
            GaveUpError: the service was away for longer than *patience_seconds*.
            UnreachableError: the service has never answered.
        """
        with explained():
            async with self._api.open_async() as client:
                self._frames = client.watch(
                    self._job_id,
                    self._after,
                    patience=self._patience,
                    first_patience=self._first_patience,
                    tell=self._on_connection,
                )
                async with self._frames as frames:
                    async for _ in frames:
                        yield ReceivedFrame(frames.raw, msgspec.json.decode(frames.raw))


@contextmanager
def explained() -> Iterator[None]:
    """Raise the errors of a watch of `headrace_client` as errors of the command."""
    try:
        yield
    except headrace_client.WatchRefusedError as error:
        raise WatchRefusedError(_explain(error)) from error
    except headrace_client.GaveUpError as error:
        raise GaveUpError(error.url, error.seconds, error.job_id, error.after, error.reason) from error
    except headrace_client.UnreachableError as error:
        raise UnreachableError(error.url, error.reason) from error


def _explain(error: headrace_client.WatchRefusedError) -> str:
    if error.code == "unauthenticated":
        return f"{error}; set HEADRACE_TOKEN to one"
    if error.code == "forbidden":
        return f"{error}; set HEADRACE_TOKEN to a token with that right"
    return str(error)
