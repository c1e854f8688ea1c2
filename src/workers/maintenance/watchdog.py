"""Notices from a thread that the event loop is blocked, and ends the process: the supervisor replaces it."""

import asyncio
import faulthandler
import os
import sys
import threading
import time
from typing import Final

BLOCKED_EXIT: Final = 70
_TICK_SECONDS: Final = 0.5


class Watchdog:
    """Blocked for *seconds*: write every thread's stack to standard error and exit with status 70.

    Its leases run out, so other workers take over what it held.
    """

    def __init__(self, *, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._turned_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="headrace-watchdog", daemon=True)

    async def run(self) -> None:
        """Show that the loop turns, until cancelled."""
        self._thread.start()
        try:
            while True:
                self._turned_at = time.monotonic()
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_TICK_SECONDS):
            if time.monotonic() - self._turned_at < self._seconds:
                continue
            began = time.monotonic()
            # A process that was stopped (SIGSTOP) and goes on is not blocked: give the loop a moment.
            if self._closed.wait(_TICK_SECONDS * 2):
                return
            if self._turned_at >= began:
                continue
            sys.stderr.write(
                f"the event loop is blocked for more than {self._seconds:g} s; ending the process\n"
            )
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            sys.stderr.flush()
            os._exit(BLOCKED_EXIT)
