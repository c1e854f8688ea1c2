"""Blocking watches of one job and of all jobs."""

import time
from collections.abc import Callable, Generator, Iterator
from typing import Final, Generic, Self, TypeVar

import msgspec
from websockets.sync.client import connect

from headrace_client.address import Address
from headrace_client.connection import LOST, OPEN_SECONDS, SILENCE_SECONDS, options, reason
from headrace_client.errors import WaitTimeoutError
from headrace_client.frames import AnyFrame, AnyJobsFrame, Frame, read_frame, read_jobs_frame, split
from headrace_client.position import JobsPosition, Position, Reconnects

F = TypeVar("F", bound=Frame)

_NOTHING: Final = msgspec.Raw(b"")


class _Stream(Iterator[F], Generic[F]):
    """The frames of one socket, which is opened again whenever it is lost."""

    def __init__(
        self,
        address: Address,
        position: Reconnects,
        read: Callable[[msgspec.Raw], F],
        deadline: float | None = None,
    ) -> None:
        self._address = address
        self._position = position
        self._read_frame = read
        self._deadline = deadline
        self._raw = _NOTHING
        self._frames = self._read()

    @property
    def raw(self) -> bytes:
        """The newest frame as it was sent."""
        return bytes(self._raw)

    def close(self) -> None:
        self._frames.close()

    def __next__(self) -> F:
        return next(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Generator[F, None, None]:
        position = self._position
        while not position.is_over:
            try:
                url = self._address.socket(position.path, position.query)
                # The timeout covers the whole handshake, so that it cannot exceed the deadline.
                timeout = self._limit(OPEN_SECONDS)
                with connect(url, open_timeout=timeout, **options(self._address)) as socket:
                    while not position.is_over:
                        message = socket.recv(timeout=self._limit(SILENCE_SECONDS), decode=False)
                        for raw in split(message):
                            frame = self._read_frame(raw)
                            if position.advance(frame):
                                self._raw = raw
                                yield frame
            except WaitTimeoutError:
                raise
            except LOST as error:
                pause = position.lost(reason(error, self._address, position), time.monotonic())
                time.sleep(self._limit(pause))

    def _limit(self, max_seconds: float) -> float:
        """Return *max_seconds*, or less if the deadline comes first."""
        if self._deadline is None:
            return max_seconds
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise WaitTimeoutError(self._position.subject or "")
        return min(max_seconds, remaining)


class Watch(_Stream[AnyFrame]):
    """Yields each event of a job once and in order, and the other frames of its stream, up to `End`.

    A lost connection resumes at the cursor. To stop early, call `close` or use `with`.

    Raises, while it is read:
        WatchRefusedError: the job or event does not exist, or this caller may not see it.
        GaveUpError: the service was away for longer than *patience*.
        UnreachableError: the service has never answered.
    """

    def __init__(self, address: Address, position: Position, deadline: float | None = None) -> None:
        """Prepare the watch. After *deadline*, a time of `time.monotonic`, it raises a `WaitTimeoutError`."""
        super().__init__(address, position, read_frame, deadline)

    @property
    def cursor(self) -> int:
        """The number of the newest event that was returned."""
        return self._position.cursor


class JobsWatch(_Stream[AnyJobsFrame]):
    """Yields the newest jobs that match, and then each job that changes, until it is closed.

    After a lost connection it starts again with the newest jobs. It raises the errors of `Watch`.
    """

    def __init__(self, address: Address, position: JobsPosition) -> None:
        super().__init__(address, position, read_jobs_frame)
