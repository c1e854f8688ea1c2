"""Brings `print` and `logging` of steps to the worker's log, and to the logs of their jobs.

Each line names its job, its step and its attempt. `StepOutput` replaces `sys.stdout` and `sys.stderr` of the
process, and `JobLogHandler` is a handler of the root logger. The context of a call says which step makes it.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TextIO

import structlog

from headrace.adapters.logs import LEVELS
from headrace.domain.events.types import MAX_LOG_EVENTS

# This logger never prints, however the author's code configures structlog: a printed line would be logged
# again, without end.
_log = structlog.wrap_logger(logging.getLogger(__name__))

_MAX_LINE_CHARS: Final = 8 * 1024
_LEVELS: Final = {**LEVELS, "off": 100}
# Fields that structlog and our processors add to each event.
_OWN_FIELDS: Final = frozenset(
    {"event", "level", "timestamp", "exc_info", "stack_info", "job_id", "request_id", "step", "attempt"}
)

# Several threads of a step may print. It can be taken again, since an object may print when it is freed.
_PARTIAL_LOCK: Final = threading.RLock()

Send = Callable[[str, str, Mapping[str, Any]], None]
"""Appends a message to the job's log: the message, its level and its fields. It never raises."""


class StepLog:
    """The output of one try of a step.

    *send* appends to the job's log. *level*: lines of lower levels are in the worker's log only.
    """

    def __init__(self, send: Send, level: str) -> None:
        self._send = send
        self._min_level = _LEVELS[level]
        self._partial: dict[str, str] = {}
        self._count = 0

    def write(self, stream: str, text: str) -> None:
        """Take text of `print`; each complete line is logged at level `info`."""
        with _PARTIAL_LOCK:
            *lines, rest = (self._partial.pop(stream, "") + text).split("\n")
            if len(rest) > _MAX_LINE_CHARS:
                lines, rest = [*lines, rest], ""
            if rest:
                # A progress bar draws over its own line; only its last state is kept.
                self._partial[stream] = rest[rest.rfind("\r", 0, -1) + 1 :]
        for line in lines:
            self._print(stream, line)

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None:
        """Log what was printed without an end of line."""
        if not self._partial:
            return
        for stream, line in list(self._partial.items()):
            self._print(stream, line)
        self._partial.clear()

    def log(self, message: str, level: int, fields: Mapping[str, Any]) -> None:
        """Append a line of `logging`, which is in the worker's log already, to the job's log."""
        if level >= self._min_level:
            self._send(message, _level_name(level), fields)

    def _print(self, stream: str, line: str) -> None:
        text = line.rstrip("\r").rpartition("\r")[2].rstrip()
        if not text:
            return
        self._count += 1
        if self._count <= MAX_LOG_EVENTS:
            _log.info(text[:_MAX_LINE_CHARS], stream=stream)
        elif self._count == MAX_LOG_EVENTS + 1:
            _log.warning("more_lines_dropped", stream=stream)
        if _LEVELS["info"] >= self._min_level:
            self._send(text, "info", {})


def _level_name(level: int) -> str:
    """Return the highest of our levels that is not above a level of `logging`."""
    return next(
        (name for name in ("error", "warning", "info") if level >= _LEVELS[name]),
        "debug",
    )


CURRENT_LOG: Final[ContextVar[StepLog | None]] = ContextVar("headrace_step_log", default=None)


class StepOutput:
    """A stream that passes text of steps to their logs, and all other text to *original*.

    *fallback*: the log of the only step of this process, for its threads.
    """

    def __init__(self, original: TextIO | None, name: str, fallback: StepLog | None = None) -> None:
        self._original = original
        self._name = name
        self._fallback = fallback

    def write(self, text: str) -> int:
        log = CURRENT_LOG.get() or self._fallback
        if log is not None:
            log.write(self._name, text)
        elif self._original is not None:
            # A closed stream must not fail the code that prints.
            with contextlib.suppress(OSError, ValueError):
                self._original.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._original is not None:
            with contextlib.suppress(OSError, ValueError):
                self._original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class JobLogHandler(logging.Handler):
    """Appends records of authors' code and of libraries to the log of the job whose step makes them."""

    def __init__(self, level: str, fallback: StepLog | None = None) -> None:
        super().__init__(_LEVELS[level])
        self._fallback = fallback

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("headrace.") and not record.name.startswith("headrace.pipelines."):
            return
        log = CURRENT_LOG.get() or self._fallback
        if log is not None:
            try:
                log.log(*_message_of(record))
            except Exception:  # noqa: BLE001  (arguments of the author's code)
                self.handleError(record)


def _message_of(record: logging.LogRecord) -> tuple[str, int, dict[str, Any]]:
    """Return the message of a record with its level and fields; structlog's records hold the whole event."""
    fields: dict[str, Any] = {"logger": record.name}
    if isinstance(record.msg, dict):
        message = str(record.msg.get("event", ""))
        fields |= {name: value for name, value in record.msg.items() if name not in _OWN_FIELDS}
    else:
        message = record.getMessage()
    if record.exc_info:
        message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
    return message, record.levelno, {name: value for name, value in fields.items() if name[0] != "_"}


@contextmanager
def captured_output(level: str, fallback: StepLog | None = None) -> Iterator[None]:
    """Capture `print` and `logging` of the steps of this process, for the block.

    *level*: records of lower levels are not in the logs of jobs. The log of the process keeps its own level.
    """
    root = logging.getLogger()
    before, streams = root.level, (sys.stdout, sys.stderr)
    handler_levels = [(other, other.level) for other in root.handlers]
    handler = JobLogHandler(level, fallback)
    for other, other_level in handler_levels:
        other.setLevel(max(other_level, before))
    root.setLevel(min(before, handler.level))
    root.addHandler(handler)
    sys.stdout = StepOutput(sys.stdout, "stdout", fallback)
    sys.stderr = StepOutput(sys.stderr, "stderr", fallback)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        root.removeHandler(handler)
        root.setLevel(before)
        for other, other_level in handler_levels:
            other.setLevel(other_level)
