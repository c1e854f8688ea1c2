"""Captures `print` and `logging` of steps for runs in memory, of which several may go on at once."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import structlog

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
                self._capture = _begin_capture()
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if self._blocks == 0:
                    self._capture.close()


def _begin_capture() -> ExitStack:
    """Return the stack that ends the capture. If a part of it fails, those before it are undone."""
    with ExitStack() as capture:
        capture.enter_context(_logging())
        capture.enter_context(_last_resort())
        capture.enter_context(captured_output(Settings().step_log_level))
        return capture.pop_all()


@contextmanager
def _logging() -> Iterator[None]:
    """Let structlog write to `logging` in the block, where test runners show it.

    A logger that prints would add our log to the output of the step. A configuration with the factory of
    `structlog.stdlib` is left alone.
    """
    was_configured, before = structlog.is_configured(), structlog.get_config()
    if isinstance(before["logger_factory"], structlog.stdlib.LoggerFactory):
        yield
        return
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
    structlog.configure(
        processors=[renderer],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # the loggers of the project outlive the block
    )
    try:
        yield
    finally:
        if was_configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()


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
