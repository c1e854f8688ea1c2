"""Appends printed and logged lines of steps in this process to the log of their job."""

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from typing import Any, Final

from headrace.workers.attempt.step_host import StepHost

# A thread that prints faster than PostgreSQL writes waits from this number of lines on, for a moment each.
_MAX_WAITING_LINES: Final = 200
_MAX_WAIT_SECONDS: Final = 1.0


class JobLogSender:
    """Appends lines for the step run *key*: from the loop at once, from any other thread by way of *loop*.

    The loop never waits: it drops lines if too many are not written yet. A thread waits for a second, then
    its line is dropped.
    """

    def __init__(self, host: StepHost, key: str, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._key = key
        self._loop = loop
        self._places: threading.Semaphore | None = None

    def __call__(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        if _running_loop() is self._loop:
            self._host.log_at_once(self._key, message, level, fields)
            return
        places = self._places
        if places is None:
            places = self._places = threading.Semaphore(_MAX_WAITING_LINES)
        has_place = places.acquire(timeout=_MAX_WAIT_SECONDS)
        with contextlib.suppress(RuntimeError):  # the loop was closed: the worker has ended
            self._loop.call_soon_threadsafe(
                self._append, message, level, fields, places if has_place else None
            )

    def _append(
        self, message: str, level: str, fields: Mapping[str, Any], places: threading.Semaphore | None
    ) -> None:
        if places is None:
            self._host.dropped_logs += 1
            return
        written = self._host.log_at_once(self._key, message, level, fields)
        if written is None:
            places.release()
        else:
            written.add_done_callback(lambda _: places.release())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
