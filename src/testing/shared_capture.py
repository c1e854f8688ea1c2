"""Captures `print` and `logging` of steps for runs in memory, of which several may go on at once."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from headrace.settings import Settings
from headrace.workers.step_output import captured_output


class SharedCapture:
    """A capture that begins with the first block and ends with the last, in whatever order blocks end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._capture = ExitStack()

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Capture for the block. Text that no step prints goes where it always goes."""
        with self._lock:
            if self._blocks == 0:
                self._capture.enter_context(_last_resort())
                self._capture.enter_context(captured_output(Settings().step_log_level))
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if self._blocks == 0:
                    self._capture.close()


@contextmanager
def _last_resort() -> Iterator[None]:
    """Write warnings to standard error for the block if there is no handler, as Python does without ours."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    # The stream as it is now: on the one of the block, a record of a step would be what the step prints.
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


STEP_OUTPUT: Final = SharedCapture()
