"""Ends this process from outside when its event loop stands still, even if its code holds Python's lock."""

import contextlib
import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headrace.adapters.periodic import run_every

_BEAT_SECONDS: Final = 0.5
_SILENT_SECONDS: Final = 7.0
_WATCHER: Final = Path(__file__).with_name("watcher.py")


class ProcessWatch:
    """A small process that kills this one after seven seconds without a beat.

    It first sends SIGABRT, so that `faulthandler` writes the stacks of all threads, and then SIGKILL. A
    process that the system has suspended is not silent. The process must not be PID 1 of its namespace,
    since Linux drops these signals there: see `run_below_init`.
    """

    def __init__(self, watcher: "subprocess.Popen[bytes]", write_end: int) -> None:
        self._watcher = watcher
        self._write_end = write_end

    async def run(self) -> None:
        """Send beats from the event loop, until cancelled."""
        await run_every(_BEAT_SECONDS, self._beat, jitter=0.0, waits_first=False)

    async def _beat(self) -> int:
        # A full pipe means that the watcher is suspended; without a watcher nothing can be done.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._write_end, b".")
        return 0


@contextmanager
def watched_process(
    *, silent_seconds: float = _SILENT_SECONDS, report: Path | None = None
) -> Iterator[ProcessWatch]:
    """Have this process watched for the block, from its first beat on.

    The watcher appends to the file *report* which thread is running when it kills the process: its id, as a
    decimal number.
    """
    faulthandler.enable()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    watcher = None
    try:
        with os.fdopen(read_end, "rb") as beats:
            # It imports nothing of this package: an interpreter without `site` starts within 20 ms.
            watcher = subprocess.Popen(  # noqa: S603  (our own command line)
                [
                    *(sys.executable, "-I", "-S", str(_WATCHER), str(os.getpid()), f"{silent_seconds:g}"),
                    *([] if report is None else [str(report)]),
                ],
                stdin=beats,
                process_group=0,
            )
        yield ProcessWatch(watcher, write_end)
    finally:
        os.close(write_end)
        if watcher is not None:
            watcher.kill()
            watcher.wait()
