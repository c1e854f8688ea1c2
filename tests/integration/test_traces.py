"""Spans of a job: its submission, its wait, its attempts, the tries of its steps, and the author's own."""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from msgspec import Struct
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.adapters.logs import add_running_job, configure_logging
from headrace.adapters.tracing.otel import OtelTracing
from headrace.adapters.tracing.tracing import TracingNotInstalledError, load_tracing
from headrace.cli.start_checks import check_start
from headrace.settings import Settings
from headrace.workers.monitoring.interface import Instruments
from support.harness import Api, serving, working
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "traced_flows.py"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLER_TRACE = CALLER.split("-")[1]
SPANS = InMemorySpanExporter()


class KeptProvider(TracerProvider):
    """The provider of this process, in which `traced_api` may be closed and built again."""

    def shutdown(self) -> None:
        """Go on, for the next `traced_api`."""


PROVIDER = KeptProvider(shutdown_on_exit=False)
PROVIDER.add_span_processor(SimpleSpanProcessor(SPANS))


class RemoteSpan(Struct, frozen=True):
    """A span that the process of a step has sent to the collector."""

    name: str
    trace_id: str
    parent_id: str


class Collector:
    """A collector of OpenTelemetry that keeps what it is sent."""

    def __init__(self) -> None:
        spans = self.spans = list[RemoteSpan]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(
                            RemoteSpan(span.name, span.trace_id.hex(), span.parent_span_id.hex())
                            for span in scope.spans
                        )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    thread = threading.Thread(target=running.server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        patch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


@pytest.fixture(scope="module")
async def traced_api(module_settings: Settings, collector: Collector) -> AsyncIterator[Api]:
    if trace.get_tracer_provider() is not PROVIDER:
        trace.set_tracer_provider(PROVIDER)  # the author's spans go to the provider of the process
    tracing = OtelTracing(PROVIDER)
    settings = msgspec.structs.replace(module_settings, pipelines=(str(FLOWS),), traces="otlp")
    async with working(settings, instruments=Instruments(tracing=tracing)), serving(settings, tracing) as api:
        # While the first process step loads its modules, a job that waits for it is handed back.
        await run(api)
        yield api


@pytest.fixture(autouse=True)
def no_earlier_spans() -> None:
    SPANS.clear()


async def run(
    api: Api, headers: dict[str, str] | None = None, queue: str = "default", **params: object
) -> list[str]:
    """Run the pipeline; return the ids of the traces that its steps saw."""
    body = {"pipeline": "traced", "params": params, "queue": queue}
    response = await api.http.post("/api/v1/jobs", json=body, headers=headers or {})
    assert response.status_code == 202, response.text
    job = await api.finish(response.json()["id"])
    assert job["state"] == "succeeded", job
    await until(lambda: any(span.name == "attempt traced" for span in SPANS.get_finished_spans()))
    result: list[str] = job["result"]
    return result


def spans_by_name() -> dict[str, list[ReadableSpan]]:
    named: dict[str, list[ReadableSpan]] = {}
    for span in SPANS.get_finished_spans():
        named.setdefault(span.name, []).append(span)
    return named


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


def is_below(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return (
        child.parent is not None
        and child.parent.span_id == parent.context.span_id
        and child.context.trace_id == parent.context.trace_id
    )


async def test_a_job_continues_the_trace_of_its_caller_by_a_link(
    traced_api: Api, collector: Collector
) -> None:
    traces = await run(traced_api, {"traceparent": CALLER})
    spans = {name: found[0] for name, found in spans_by_name().items()}
    submit, attempt = spans["submit"], spans["attempt traced"]

    assert trace_of(submit) == CALLER_TRACE
    assert submit.parent is not None
    assert f"{submit.parent.span_id:016x}" == CALLER.split("-")[2]
    assert attempt.parent is None
    assert trace_of(attempt) != CALLER_TRACE
    for span in (attempt, spans["queued"]):
        assert [link.context.span_id for link in span.links] == [submit.context.span_id]
    assert is_below(spans["queued"], attempt)
    assert (spans["queued"].start_time or 0) <= (spans["queued"].end_time or 0) == attempt.start_time
    for name in ("in_loop", "in_thread", "in_process", "collect"):
        assert is_below(spans[f"step {name}"], attempt)
    assert is_below(spans["author in loop"], spans["step in_loop"])
    assert is_below(spans["author in thread"], spans["step in_thread"])
    assert traces == [trace_of(attempt)] * 3
    await until(lambda: any(span.trace_id == trace_of(attempt) for span in collector.spans))
    (remote,) = [span for span in collector.spans if span.trace_id == trace_of(attempt)]
    assert remote.name == "author in process"
    assert remote.parent_id == f"{spans['step in_process'].context.span_id:016x}"


async def test_without_a_caller_a_submission_begins_a_trace(traced_api: Api) -> None:
    await run(traced_api, {"traceparent": "nonsense"})
    spans = {name: found[0] for name, found in spans_by_name().items()}

    assert spans["submit"].parent is None
    assert spans["attempt traced"].links[0].context.trace_id == spans["submit"].context.trace_id
    assert dict(spans["attempt traced"].attributes or {})["headrace.state"] == "succeeded"


async def test_a_refused_submission_has_the_name_of_its_error_and_not_its_text(traced_api: Api) -> None:
    response = await traced_api.http.post(
        "/api/v1/jobs", json={"pipeline": "traced", "params": {"fails": "secret"}}
    )
    (submit,) = spans_by_name()["submit"]

    assert (response.status_code, response.json()["code"]) == (422, "params_invalid")
    assert not submit.status.is_ok
    assert submit.status.description == "ParamsInvalidError"
    assert not submit.events


async def test_each_try_has_a_span_of_its_own_and_begins_from_a_clean_context(traced_api: Api) -> None:
    await run(traced_api, fails=True)
    named = spans_by_name()
    (attempt,) = named["attempt traced"]

    for kind in ("loop", "thread"):
        tries, authors = named[f"step in_{kind}"], named[f"author in {kind}"]
        assert [span.status.is_ok for span in tries] == [False, True]
        assert tries[0].status.description == "RetryableError"
        assert all(is_below(span, attempt) for span in tries)
        # The second try is not below what the first one left open or current.
        assert [is_below(author, span) for author, span in zip(authors, tries, strict=True)] == [True, True]


async def test_log_lines_of_all_kinds_of_steps_name_request_job_step_attempt_and_trace(
    traced_api: Api, module_settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = msgspec.structs.replace(
        module_settings, pipelines=(str(FLOWS),), traces="otlp", env="production"
    )
    worker_log = StringIO()
    configure_logging("info", as_json=True, stream=worker_log)
    try:
        # Its process steps write to the standard error that this test captures.
        async with working(
            settings, queues=("logged",), instruments=Instruments(tracing=OtelTracing(PROVIDER))
        ):
            await run(traced_api, queue="logged")
            traces = await run(traced_api, {"X-Request-Id": "asked-by-a-test"}, queue="logged")
    finally:
        configure_logging("info", as_json=False)  # as `conftest.py` does

    written = worker_log.getvalue() + capfd.readouterr().err
    logged = [msgspec.json.decode(line) for line in written.splitlines() if line.startswith("{")]
    lines = [line for line in logged if line.get("request_id") == "asked-by-a-test"]
    for kind in ("loop", "thread", "process"):
        (line,) = [line for line in lines if line["event"] == f"worked in {kind}"]
        assert (line["step"], line["attempt"], line["trace_id"]) == (f"in_{kind}", 1, traces[0])
        assert line["job_id"]


@pytest.mark.parametrize("error", [None, ValueError("refused")])
def test_log_lines_of_a_submission_name_its_trace(error: Exception | None) -> None:
    def names() -> dict[str, Any]:
        return dict(add_running_job(None, "info", {"event": "said"}))

    headers = [(b"traceparent", CALLER.encode())]
    with contextlib.suppress(ValueError), OtelTracing(PROVIDER).submission(headers, ["noop"]):
        during = names()
        if error is not None:
            raise error

    assert (during, names()) == ({"event": "said", "trace_id": CALLER_TRACE}, {"event": "said"})


async def test_log_lines_of_a_request_that_submits_name_its_trace(
    traced_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter = traced_api.app.state.services.submitter
    submit = submitter.submit

    async def log_and_submit(*arguments: Any, **options: Any) -> Any:
        structlog.get_logger().warning("submitting")
        return await submit(*arguments, **options)

    monkeypatch.setattr(submitter, "submit", log_and_submit)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars, add_running_job]) as lines:
        await run(traced_api, {"traceparent": CALLER, "X-Request-Id": "from-me"})

    (line,) = [line for line in lines if line["event"] == "submitting"]
    assert (line["request_id"], line["trace_id"]) == ("from-me", CALLER_TRACE)


async def test_the_trace_is_stored_only_where_jobs_are_traced(
    traced_api: Api, module_settings: Settings
) -> None:
    database = await StatementPool.open(str(module_settings.database_url), size=1)
    async with serving(module_settings) as untraced:
        response = await untraced.http.post(
            "/api/v1/jobs", json={"pipeline": "noop", "queue": "nobody"}, headers={"traceparent": CALLER}
        )
        await traced_api.http.post("/api/v1/jobs", json={"pipeline": "noop", "queue": "nobody"})
    rows = await database.fetch("SELECT id, traceparent FROM jobs WHERE queue = 'nobody'")
    await database.close()

    stored = {str(row["id"]): row["traceparent"] for row in rows}
    assert stored.pop(response.json()["id"]) is None
    (traceparent,) = stored.values()
    assert len(traceparent) == 55


def test_traces_are_off_by_default_and_import_nothing() -> None:
    assert Settings().traces == "off"
    assert load_tracing("off", "headrace-api") is None


def test_without_opentelemetry_a_process_that_should_trace_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.adapters.tracing.tracing._EXPORTER", "opentelemetry.nowhere")

    with pytest.raises(TracingNotInstalledError, match=r"pip install 'headrace\[otel\]'"):
        load_tracing("otlp", "headrace-worker")
    with pytest.raises(TracingNotInstalledError):
        check_start(Settings(database_url="postgresql://nowhere/x", traces="otlp"), "127.0.0.1")
