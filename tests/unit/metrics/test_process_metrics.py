"""The series of API and worker processes, from what happens in them."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from headrace.adapters.metrics.api_metrics import ApiMetrics
from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.process_metrics import ProcessMetrics
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.domain.events.encoding import LoggedEvent
from headrace.workers.monitoring.metrics import WorkerMetrics

FRAME = b'{"type":"job.started","job_id":"x","seq":1,"at":"2026-01-01T12:00:00.500Z","attempt":1}'
NOON = 1767268800.0


def samples(metrics: ProcessMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return each value by the name of its series and the values of its labels, ordered by their names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def worker_metrics(**more: Any) -> WorkerMetrics:
    return WorkerMetrics(LoopLag(), Scrapes(), **more)


def test_steps_are_counted_by_pipeline_step_and_outcome() -> None:
    metrics = worker_metrics()

    metrics.on_step("mix", "render", "succeeded", 2.0)
    metrics.on_step("mix", "render", "succeeded", 4.0)
    metrics.on_step("mix", "render", "retried", 0.5)

    values = samples(metrics)
    assert values["headrace_step_seconds_count", ("succeeded", "mix", "render")] == 2
    assert values["headrace_step_seconds_sum", ("succeeded", "mix", "render")] == 6.0
    assert values["headrace_step_seconds_count", ("retried", "mix", "render")] == 1


def test_steps_of_pipelines_beyond_the_limit_are_other() -> None:
    metrics = worker_metrics(max_pipelines=1)

    for pipeline in ("first", "second", "third", "first"):
        metrics.on_step(pipeline, f"step of {pipeline}", "failed", 1.0)

    values = samples(metrics)
    counts = {key[1]: value for key, value in values.items() if key[0] == "headrace_step_seconds_count"}
    assert counts == {("failed", "first", "step of first"): 2, ("failed", "other", "other"): 2}


def test_what_a_worker_reports_is_counted() -> None:
    metrics = worker_metrics()

    metrics.on_start(0.25)
    metrics.on_hand_back()
    metrics.on_losses(3)
    metrics.on_batch(40)
    metrics.on_ring("claimed")
    metrics.on_ring("sent", 5)

    values = samples(metrics)
    assert values["headrace_start_latency_seconds_sum", ()] == 0.25
    assert values["headrace_hand_backs_total", ()] == 1
    assert values["headrace_lease_losses_total", ()] == 3
    assert values["headrace_batch_size_sum", ()] == 40
    assert values["headrace_rings_total", ("claimed",)] == 1
    assert values["headrace_rings_total", ("sent",)] == 5


def test_pools_are_read_when_the_metrics_are() -> None:
    metrics = worker_metrics()
    in_use = [2]
    metrics.watch_pools({"writes": lambda: in_use[0]})

    before = samples(metrics)["headrace_pool_in_use", ("writes",)]
    in_use[0] = 4

    assert (before, samples(metrics)["headrace_pool_in_use", ("writes",)]) == (2, 4)


def test_redis_is_up_unless_there_is_an_outage() -> None:
    metrics = worker_metrics()
    without = samples(metrics)
    outage: Any = type("Outage", (), {"trouble": None})()
    metrics.watch_redis(outage)
    up = samples(metrics)["headrace_redis_up", ()]
    outage.trouble = "away"

    assert ("headrace_redis_up", ()) not in without
    assert (up, samples(metrics)["headrace_redis_up", ()]) == (1, 0)


def test_requests_are_counted_by_route_and_status_and_unknown_words_share_a_series() -> None:
    metrics = ApiMetrics(LoopLag(), Scrapes())

    metrics.on_response("GET", "/api/v1/jobs/{job_id}", 200, 0.01)
    metrics.on_response("GET", "/api/v1/jobs/{job_id}", 200, 0.02)
    for word in ("AAA", "BBB"):
        metrics.on_response(word, None, 404, 0.1)

    values = samples(metrics)
    assert values["headrace_http_requests_total", ("GET", "/api/v1/jobs/{job_id}", "200")] == 2
    assert values["headrace_http_requests_total", ("other", "unmatched", "404")] == 2
    assert values["headrace_http_request_seconds_count", ("unmatched",)] == 2


def test_the_latency_of_events_is_measured_by_the_clock_of_postgresql() -> None:
    metrics = ApiMetrics(LoopLag(), Scrapes(), clock=lambda: NOON - 100.0)
    events = [LoggedEvent(1, "job.started", FRAME)]
    metrics.on_events(events)
    unknown = samples(metrics)["headrace_event_latency_seconds_count", ()]
    metrics.find_offset = lambda: 102.0

    metrics.on_events(events)

    values = samples(metrics)
    assert unknown == 0
    assert values["headrace_event_latency_seconds_count", ()] == 1
    assert values["headrace_event_latency_seconds_sum", ()] == 1.5


def test_a_scrape_is_noted() -> None:
    metrics = worker_metrics()
    before = metrics.scrapes.are_recent

    metrics.render()

    assert (before, metrics.scrapes.are_recent) == (False, True)
