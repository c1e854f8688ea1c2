"""Configures logging: one line per event, as text or JSON, without credentials."""

import logging
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from headrace.adapters.log_stream import LogHandler, LogStream
from headrace.domain.redaction import REDACTED, is_secret_name, redact, redact_values

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Shorter secrets may be parts of words. In a URL they are found by their position.
_MIN_SECRET_CHARS: Final = 6
# The renderers need these values unchanged.
_UNREDACTED_KEYS: Final = ("exc_info", "stack_info")
_NOISY_LOGGERS: Final = ("arq", "httpx", "httpcore", "alembic", "asyncio")


class RunningJob(Struct, frozen=True):
    """An attempt of a job, and the request that submitted the job."""

    id: UUID
    request_id: str | None
    attempt: int


RUNNING_JOB: Final[ContextVar[RunningJob | None]] = ContextVar("headrace_job", default=None)
"""The job that this context works on: its log lines name it."""
RUNNING_STEP: Final[ContextVar[str | None]] = ContextVar("headrace_step", default=None)
"""The key of the step run of that job."""
RUNNING_TRACE: Final[ContextVar[str | None]] = ContextVar("headrace_trace", default=None)
"""The id of the trace of that attempt, or of the submission, if it is traced."""

_names_of_process: Final[dict[str, Any]] = {}


def name_process(job: RunningJob, step: str, trace_id: str | None = None) -> None:
    """Let all log lines of this process, also those of its threads, name that job, step and trace."""
    RUNNING_JOB.set(job)
    RUNNING_STEP.set(step)
    RUNNING_TRACE.set(trace_id)
    _names_of_process.update(_names(job, step, trace_id))


def configure_logging(
    level: str, *, as_json: bool, secrets: Iterable[str] = (), stream: LogStream | None = None
) -> None:
    """Send our logs and those of libraries to standard error, in one format.

    *stream* replaces standard error, so that a slow reader does not hold up this process: see `log_stream`.

    Values that look or are named like a credential, and *secrets*, are removed, also from tracebacks.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_running_job,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=24,
                # The default formatter shows local variables, which may hold secrets.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    # Change the list in place: loggers that were used before keep a reference to it.
    processors = structlog.get_config()["processors"]
    processors[:] = [*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    handler = LogHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_named_values,
                *renderers,
                _LineRedactor(secrets),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # At level info uvicorn logs two lines per socket, with the full URL.
    logging.getLogger("uvicorn.error").setLevel(max(LEVELS[level], logging.WARNING))


def add_running_job(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add the job, the step and the trace of the present context, for structlog's list of processors."""
    job, trace_id = RUNNING_JOB.get(), RUNNING_TRACE.get()
    if job is None:
        names = _names_of_process if trace_id is None else _names_of_process | {"trace_id": trace_id}
    else:
        names = _names(job, RUNNING_STEP.get(), trace_id)
    return names | dict(event)


def _names(job: RunningJob, step: str | None, trace_id: str | None) -> dict[str, Any]:
    names: dict[str, Any] = {"job_id": str(job.id), "request_id": job.request_id, "attempt": job.attempt}
    if step is not None:
        names["step"] = step
    if trace_id is not None:
        names["trace_id"] = trace_id
    return names


def _redact_named_values(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    kept = {name: event[name] for name in _UNREDACTED_KEYS if name in event}
    return {**redact_values(dict(event), is_secret_name), **kept}


class _LineRedactor:
    """Removes secrets from the finished line, wherever in the event they were."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Each secret as it is, as JSON writes it and as `repr` writes it.
        forms = {
            form
            for secret in secrets
            if len(secret) >= _MIN_SECRET_CHARS
            for form in (secret, msgspec.json.encode(secret).decode()[1:-1], repr(secret)[1:-1])
        }
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, line: Any) -> str:
        text = str(line)
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return redact(text)
