"""Asynchronous watches of one job and of all jobs."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, Generic, Self, TypeVar

import msgspec
from websockets.asyncio.client import connect

from headrace_client.address import Address
from headrace_client.connection import LOST, OPEN_SECONDS, SILENCE_SECONDS, options, reason
from headrace_client.frames import AnyFrame, AnyJobsFrame, Frame, read_frame, read_jobs_frame, split
from headrace_client.position import JobsPosition, Position, Reconnects

F = TypeVar("F", bound=Frame)

_NOTHING: Final = msgspec.Raw(b"")


class _AsyncStream(AsyncIterator[F], Generic[F]):
    """The frames of one socket, which is opened again whenever it is lost."""

    def __init__(self, address: Address, position: Reconnects, read: Callable[[msgspec.Raw], F]) -> None:
        self._address = address
        self._position = position
        self._read_frame = read
        self._raw = _NOTHING
        self._frames = self._read()

    @property
    def raw(self) -> bytes:
        """The newest frame as it was sent."""
        return bytes(self._raw)

    async def close(self) -> None:
        await self._frames.aclose()

    async def __anext__(self) -> F:
        return await anext(self._frames)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self) -> AsyncGenerator[F, None]:
        position = self._position
        while not position.is_over:
            try:
                url = self._address.socket(position.path, position.query)
                async with connect(url, open_timeout=OPEN_SECONDS, **options(self._address)) as socket:
                    while not position.is_over:
                        async with asyncio.timeout(SILENCE_SECONDS):
                            message = await socket.recv(decode=False)
                        for raw in split(message):
                            frame = self._read_frame(raw)
                            if position.advance(frame):
                                self._raw = raw
                                yield frame
            except LOST as error:
                pause = position.lost(reason(error, self._address, position), time.monotonic())
                await asyncio.sleep(pause)


class AsyncWatch(_AsyncStream[AnyFrame]):
    """Yields each event of a job once and in order, and the other frames of its stream, up to `End`.

    A lost connection resumes at the cursor. To stop early, call `close` or use `async with`. It raises the
    errors of `Watch`.
    """

    def __init__(self, address: Address, position: Position) -> None:
        super().__init__(address, position, read_frame)

    @property
    def cursor(self) -> int:
        """The number of the newest event that was returned."""
        return self._position.cursor


class AsyncJobsWatch(_AsyncStream[AnyJobsFrame]):
    """Yields the newest jobs that match, and then each job that changes, until it is closed.

    After a lost connection it starts again with the newest jobs. It raises the errors of `Watch`.
    """

    def __init__(self, address: Address, position: JobsPosition) -> None:
        super().__init__(address, position, read_jobs_frame)
