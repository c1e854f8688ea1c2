"""An asynchronous watch of a job."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Self

import msgspec
from websockets.asyncio.client import connect

from headrace_client.address import Address
from headrace_client.connection import LOST, OPEN_SECONDS, SILENCE_SECONDS, options, reason
from headrace_client.frames import AnyFrame, read_frame, split
from headrace_client.position import Position

_NOTHING: Final = msgspec.Raw(b"")


class AsyncWatch(AsyncIterator[AnyFrame]):
    """Yields each event of a job once and in order, and the other frames of its stream, up to `End`.

    A lost connection resumes at the cursor. To stop early, call `close` or use `async with`. It raises the
    errors of `Watch`.
    """

    def __init__(self, address: Address, position: Position) -> None:
        self._address = address
        self._position = position
        self._raw = _NOTHING
        self._frames = self._read()

    @property
    def cursor(self) -> int:
        """The number of the newest event that was returned."""
        return self._position.cursor

    @property
    def raw(self) -> bytes:
        """The newest frame as it was sent."""
        return bytes(self._raw)

    async def close(self) -> None:
        await self._frames.aclose()

    async def __anext__(self) -> AnyFrame:
        return await anext(self._frames)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self) -> AsyncGenerator[AnyFrame, None]:
        position = self._position
        while not position.is_over:
            try:
                url = self._address.job_socket(position.job_id, position.cursor)
                async with connect(url, open_timeout=OPEN_SECONDS, **options(self._address)) as socket:
                    while not position.is_over:
                        async with asyncio.timeout(SILENCE_SECONDS):
                            message = await socket.recv(decode=False)
                        for raw in split(message):
                            frame = read_frame(raw)
                            if position.advance(frame):
                                self._raw = raw
                                yield frame
            except LOST as error:
                pause = position.lost(reason(error, self._address, position), time.monotonic())
                await asyncio.sleep(pause)
