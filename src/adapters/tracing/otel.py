"""The spans of a job by OpenTelemetry. Only `tracing` imports this module."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace.adapters.logs import RUNNING_TRACE
from headrace.domain.jobs.attempts.claims import Claim

_HEADER: Final = "traceparent"
_propagator: Final = TraceContextTextMapPropagator()


def build_tracing(service: str, exporter: SpanExporter, traceparent: str | None = None) -> "OtelTracing":
    """Return the tracing of this process, which is called *service* unless OTEL_SERVICE_NAME is set.

    Spans of authors go the same way. *traceparent*: the span that those of this process continue.
    """
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if traceparent is not None:
        otel_context.attach(_extract(traceparent))
    return OtelTracing(provider)


class OtelTracing:
    """Implements `Tracing`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("headrace")

    @contextmanager
    def submission(
        self, headers: Iterable[tuple[bytes, bytes]], pipelines: Sequence[str]
    ) -> Iterator[str | None]:
        sent = next((value for name, value in headers if name == _HEADER.encode()), b"")
        with (
            self._tracer.start_as_current_span(
                "submit",
                context=_extract(sent.decode("latin-1")),
                kind=SpanKind.PRODUCER,
                attributes={"headrace.jobs": len(pipelines), "headrace.pipelines": sorted(set(pipelines))},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            _failing(span),
            _named_in_logs(span),
        ):
            yield self.current_traceparent()

    def start_attempt(self, claim: Claim) -> "OtelAttempt":
        now = time.time_ns()
        links = _links_to(claim.traceparent)
        span = self._tracer.start_span(
            f"attempt {claim.pipeline}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                "headrace.job_id": str(claim.job_id),
                "headrace.pipeline": claim.pipeline,
                "headrace.version": claim.version,
                "headrace.queue": claim.queue,
                "headrace.attempt": claim.attempt,
            },
            start_time=now,
        )
        current = trace.set_span_in_context(span, Context())
        queued = self._tracer.start_span(
            "queued", context=current, links=links, start_time=now - int(claim.late_seconds * 1e9)
        )
        queued.end(now)
        # The task of the attempt has a context of its own, which ends with it.
        otel_context.attach(current)
        RUNNING_TRACE.set(_trace_id(span))
        return OtelAttempt(span)

    @contextmanager
    def step(self, claim: Claim, key: str, runs_in: str) -> Iterator[None]:
        with (
            self._tracer.start_as_current_span(
                f"step {key.partition('[')[0]}",
                attributes={
                    "headrace.job_id": str(claim.job_id),
                    "headrace.step": key,
                    "headrace.attempt": claim.attempt,
                    "headrace.runs_in": runs_in,
                },
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            _failing(span),
        ):
            yield

    def current_traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get(_HEADER)

    def close(self, seconds: float) -> None:
        # A collector that does not answer is tried for longer than anybody should wait.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(seconds)


class OtelAttempt:
    """Implements `AttemptSpan`."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, state: str) -> None:
        self._span.set_attribute("headrace.state", state)
        if state == "failed":
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    """Give *span* the type of the block's error. Its text may hold values of the job."""
    try:
        yield
    except Exception as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


@contextmanager
def _named_in_logs(span: Span) -> Iterator[None]:
    """Have the log lines of the block name the trace of *span*."""
    token = RUNNING_TRACE.set(_trace_id(span))
    try:
        yield
    finally:
        RUNNING_TRACE.reset(token)


def _trace_id(span: Span) -> str:
    return format_trace_id(span.get_span_context().trace_id)


def _extract(traceparent: str) -> Context:
    """Return the context of a header, or an empty one if it is missing or malformed."""
    return _propagator.extract({_HEADER: traceparent}, Context())


def _links_to(traceparent: str | None) -> list[Link]:
    if traceparent is None:
        return []
    linked = trace.get_current_span(_extract(traceparent)).get_span_context()
    return [Link(linked)] if linked.is_valid else []
