"""Ctrl-C, SIGTERM and a closed terminal as one thing: a wish to stop, and a second one to hurry."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the wishes. Outside of `listening` the first one is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take the signals over for the block."""
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def listening(self) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
        """In the running loop, set the first event (stop) and then the second (hurry) instead of raising."""
        self._loop = asyncio.get_running_loop()
        if self.count:
            self._stop.set()
        try:
            yield self._stop, self._hurry
        finally:
            # What comes now must not break the end of the servers; it is bounded by itself.
            self.count += 1
            self._loop = None

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe((self._stop if self.count == 1 else self._hurry).set)
        elif self.count == 1:
            raise KeyboardInterrupt
