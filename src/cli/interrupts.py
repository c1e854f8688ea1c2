"""Turns Ctrl-C, SIGTERM and a closed terminal into two requests: first to stop, then to hurry."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the signals. Outside of `listening` the first one raises a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Handle the signals for the block."""
        previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def listening(self) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
        """Set the first event (stop), then the second (hurry), instead of raising; in the running loop."""
        self._loop = asyncio.get_running_loop()
        if self.count:
            self._stop.set()
        try:
            yield self._stop, self._hurry
        finally:
            # A later signal must not interrupt the shutdown of the servers, which is bounded by timeouts.
            self.count += 1
            self._loop = None

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe((self._stop if self.count == 1 else self._hurry).set)
        elif self.count == 1:
            raise KeyboardInterrupt
