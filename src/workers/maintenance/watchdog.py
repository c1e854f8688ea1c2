"""Ends the process when its event loop is blocked; the supervisor starts a new one."""

import asyncio
import faulthandler
import os
import sys
import threading
import time
from typing import Final

from headrace.adapters.periodic import run_every
from headrace.workers.attribution import OwnedTask
from headrace.workers.crash_record import CrashRecord

BLOCKED_EXIT: Final = 70
_TICK_SECONDS: Final = 0.5


class Watchdog:
    """A thread that exits with status 70 when the loop was blocked for *seconds*.

    It first blames the attempt whose code blocks the loop, and writes the stacks of all threads to standard
    error. `ProcessWatch` does the same from outside, for code that holds Python's lock.
    """

    def __init__(self, crash_record: CrashRecord, *, seconds: float = 5.0) -> None:
        self._crash_record = crash_record
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticked_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="headrace-watchdog", daemon=True)

    async def run(self) -> None:
        """Start the thread and tick in the event loop, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        try:
            await run_every(_TICK_SECONDS, self._tick, jitter=0.0, waits_first=False)
        finally:
            self._closed.set()

    async def _tick(self) -> int:
        self._ticked_at = time.monotonic()
        return 0

    def _watch(self) -> None:
        while not self._closed.wait(_TICK_SECONDS):
            if time.monotonic() - self._ticked_at < self._seconds:
                continue
            began = time.monotonic()
            # A process that continues after SIGSTOP is not blocked: give its loop a moment to tick.
            if self._closed.wait(_TICK_SECONDS * 2):
                return
            if self._ticked_at >= began:
                continue
            task = asyncio.current_task(self._loop)
            runs_for = task.lease if isinstance(task, OwnedTask) else None
            blamed = self._crash_record.blame_loop(runs_task=task is not None, runs_for=runs_for)
            by = "" if blamed is None else f" by job {blamed[0]}"
            sys.stderr.write(
                f"the event loop is blocked for more than {self._seconds:g} s{by}; ending the process\n"
            )
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            sys.stderr.flush()
            os._exit(BLOCKED_EXIT)
