"""Tells a worker whether its parent has sent a signal, or the code of a job."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

_LOG_SECONDS: Final = 1.0


def note_stop(crash_record: Path) -> None:
    """Note that the worker with this crash record is to stop; the caller sends it a signal next.

    If the note cannot be written, the worker ignores the signal, and is killed when its time to stop is over.
    """
    with contextlib.suppress(OSError):
        _note(crash_record).touch()


def _note(crash_record: Path) -> Path:
    return crash_record.with_suffix(".stop")


class StopRequests:
    """The signals of a worker: it obeys those that its parent has noted, and ignores all others.

    A step, or a process that it has started, may signal the worker or its process group; its neighbours must
    not suffer from that. A worker whose parent has ended obeys every signal, as does one without a crash
    record, since nobody writes notes for it.
    """

    def __init__(self, crash_record: Path | None, stop: Callable[[Signals], None]) -> None:
        """*stop* is called for each signal that counts. A note for an earlier worker is removed."""
        self._note = None if crash_record is None else _note(crash_record)
        self._stop = stop
        self._parent = os.getppid()
        self._logged_at = -_LOG_SECONDS
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def on_signal(self, number: Signals) -> None:
        if self._note is None or self._note.exists() or os.getppid() != self._parent:
            self._stop(number)
        elif time.monotonic() - self._logged_at >= _LOG_SECONDS:
            self._logged_at = time.monotonic()
            _log.warning(
                "signal_ignored", signal=number.name, reason=f"only process {self._parent} stops this worker"
            )
