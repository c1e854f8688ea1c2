"""The spans of a job, from its submission to the tries of its steps, if the settings ask for them.

OpenTelemetry is imported only then. Its own variables (`OTEL_...`) say where spans are sent.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from headrace.domain.errors import HeadraceError
from headrace.domain.jobs.attempts.claims import Claim

_CLOSE_SECONDS: Final = 2.0
_IMPLEMENTATION: Final = "headrace.adapters.tracing.otel"
_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class TracingNotInstalledError(HeadraceError):
    """The settings ask for traces, and OpenTelemetry is not installed."""

    def __init__(self) -> None:
        super().__init__("HEADRACE_TRACES=otlp needs OpenTelemetry: pip install 'headrace[otel]'")


class AttemptSpan(Protocol):
    """The span of an attempt, which is the current one of the task that has started it."""

    def end(self, state: str) -> None:
        """End the span. *state*: that of the job."""


class Tracing(Protocol):
    """Makes the spans of one process."""

    def submission(
        self, headers: Iterable[tuple[bytes, bytes]], pipelines: Sequence[str]
    ) -> AbstractContextManager[str | None]:
        """Trace the submission of jobs of *pipelines* for the block; yield the `traceparent` to store.

        The span continues the trace that the *headers* of the request name.
        """

    def start_attempt(self, claim: Claim) -> AttemptSpan:
        """Begin a trace for an attempt, with a link to the submission. It becomes current in this context."""

    def step(self, claim: Claim, key: str, runs_in: str) -> AbstractContextManager[None]:
        """Trace one try of a step for the block. Tasks and threads that begin in it continue the trace."""

    def current_traceparent(self) -> str | None:
        """Return the current span, for the process of a step."""

    def close(self, seconds: float) -> None:
        """Send the spans that are left; return after *seconds*, whether they were sent or not."""


def load_tracing(mode: str, service: str) -> Tracing | None:
    """Return the tracing of a process that is called *service*; None if *mode* is `off`.

    Raises:
        TracingNotInstalledError: OpenTelemetry is missing.
    """
    if mode == "off":
        return None
    return _build(service)


def continue_trace(traceparent: str) -> Tracing:
    """Continue a trace in the process of a step: spans that the step makes belong to it."""
    return _build("headrace-step", traceparent)


def import_tracing() -> tuple[Any, Any]:
    """Import OpenTelemetry; return the modules that make spans and that send them.

    Raises:
        TracingNotInstalledError: it is missing.
    """
    try:
        return importlib.import_module(_IMPLEMENTATION), importlib.import_module(_EXPORTER)
    except ImportError as error:
        raise TracingNotInstalledError from error


def _build(service: str, traceparent: str | None = None) -> Tracing:
    implementation, exporters = import_tracing()
    tracing: Tracing = implementation.build_tracing(service, exporters.OTLPSpanExporter(), traceparent)
    return tracing


@asynccontextmanager
async def closing_traces(tracing: Tracing | None) -> AsyncIterator[None]:
    """Send the spans that are left at the end of the block."""
    try:
        yield
    finally:
        if tracing is not None:
            await asyncio.to_thread(tracing.close, _CLOSE_SECONDS)
