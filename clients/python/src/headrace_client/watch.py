"""The frames of a job for callers that block."""

import time
from collections.abc import Generator, Iterator
from typing import Final, Self

import msgspec
from websockets.sync.client import connect

from headrace_client.address import Address
from headrace_client.connection import LOST, OPEN_SECONDS, SILENCE_SECONDS, options, reason
from headrace_client.errors import WaitTimeoutError
from headrace_client.frames import AnyFrame, read_frame, split
from headrace_client.position import Position

_NOTHING: Final = msgspec.Raw(b"")


class Watch(Iterator[AnyFrame]):
    """Every event of a job once and in order, and what else its stream says, up to `End`.

    Lost connections are taken up again at the cursor. Whoever leaves early closes it, or uses it with `with`.

    Raises, while it is read:
        WatchRefusedError: there is no such job or event, or it is not for this caller.
        GaveUpError: the service was away for longer than the patience.
        UnreachableError: it was never there.
    """

    def __init__(self, address: Address, position: Position, deadline: float | None = None) -> None:
        """*deadline*, on the clock of `time.monotonic`, ends it with a `WaitTimeoutError`."""
        self._address = address
        self._position = position
        self._deadline = deadline
        self._raw = _NOTHING
        self._frames = self._read()

    @property
    def cursor(self) -> int:
        """The newest event that was handed out."""
        return self._position.cursor

    @property
    def raw(self) -> bytes:
        """The newest frame as it was sent."""
        return bytes(self._raw)

    def close(self) -> None:
        self._frames.close()

    def __next__(self) -> AnyFrame:
        return next(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Generator[AnyFrame, None, None]:
        position = self._position
        while not position.is_over:
            try:
                url = self._address.job_socket(position.job_id, position.cursor)
                # Of the whole opening, so that no part of it can outlive the deadline.
                timeout = self._seconds(OPEN_SECONDS)
                with connect(url, open_timeout=timeout, **options(self._address)) as socket:
                    while not position.is_over:
                        message = socket.recv(timeout=self._seconds(SILENCE_SECONDS), decode=False)
                        for raw in split(message):
                            frame = read_frame(raw)
                            if position.take(frame):
                                self._raw = raw
                                yield frame
            except WaitTimeoutError:
                raise
            except LOST as error:
                pause = position.lost(reason(error, self._address, position), time.monotonic())
                time.sleep(self._seconds(pause))

    def _seconds(self, most: float) -> float:
        """As much of *most* as is left."""
        if self._deadline is None:
            return most
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeoutError(self._position.job_id)
        return min(most, left)
