"""The facts that are built from counted lanes, samples and live workers."""

from typing import Any

import pytest

from headrace.domain.facts.limits import FactsLimit
from headrace.domain.facts.models import DatabaseFacts, Lane, Sample
from headrace.domain.facts.summary import QueueFacts, count_jobs, with_estimates
from headrace.domain.jobs.waiting import ServingWorker


def lane(queue: str = "default", pipeline: str = "noop", version: int = 1, **more: Any) -> Lane:
    fields: dict[str, Any] = {"due": 0, "later": 0, "oldest_due_seconds": None, "needs_process": False}
    return Lane(queue=queue, pipeline=pipeline, version=version, limit=100, **(fields | more))


def worker(*queues: str, pipelines: str = "noop@1", running: int = 0) -> ServingWorker:
    return ServingWorker(set(queues), set(pipelines.split()), running, 5)


def facts(**more: Any) -> DatabaseFacts:
    fields: dict[str, Any] = {
        name: {}
        for name in ("jobs", "due", "oldest_due_seconds", "waiting", "unserved", "workers", "table_bytes")
    }
    return DatabaseFacts(**(fields | {"connections": 1, "max_connections": 100} | more))


def test_due_jobs_and_their_oldest_are_summed_by_queue() -> None:
    lanes = [
        lane(due=3, oldest_due_seconds=5.0),
        lane(pipeline="other", due=2, oldest_due_seconds=60.0),
        lane("slow", due=1, oldest_due_seconds=1.0),
    ]

    summary = QueueFacts(lanes, [worker("default", "slow", pipelines="noop@1 other@1")], backing_off=0)

    assert summary.due == {"default": 5, "slow": 1}
    assert summary.oldest_due_seconds == {"default": 60.0, "slow": 1.0}
    assert summary.queued == {"noop": 4, "other": 2}


def test_an_empty_queue_that_is_served_stays_with_zeros() -> None:
    summary = QueueFacts([], [worker("default")], backing_off=0)

    assert (summary.due, summary.oldest_due_seconds) == ({"default": 0}, {"default": 0.0})
    assert summary.workers == {"default": 1}
    assert summary.waiting == {}


def test_jobs_wait_for_a_worker_of_their_queue_and_version() -> None:
    lanes = [lane("lonely", due=2), lane(version=7, due=3), lane(due=4)]

    summary = QueueFacts(lanes, [worker("default")], backing_off=0)

    assert summary.waiting == {"no_worker": 5}
    assert summary.unserved == {("noop", "1"): 2, ("noop", "7"): 3}
    assert summary.workers == {"default": 1, "lonely": 0}


def test_jobs_wait_for_busy_workers_for_process_slots_and_in_quarantine() -> None:
    lanes = [lane(due=2), lane(due=3, needs_process=True), lane(due=1, losses=2)]

    summary = QueueFacts(lanes, [worker("default", running=5)], backing_off=0)

    assert summary.waiting == {"worker_busy": 2, "process_slots_busy": 3, "quarantined": 1}


@pytest.mark.parametrize(
    ("backing_off", "waiting"),
    [(0, {"run_at": 4}), (1, {"run_at": 3, "backoff": 1}), (9, {"backoff": 4})],
)
def test_jobs_that_are_not_due_wait_for_their_time_or_for_another_attempt(
    backing_off: int, waiting: dict[str, int]
) -> None:
    assert QueueFacts([lane(later=4)], [worker("default")], backing_off=backing_off).waiting == waiting


def test_a_lane_that_was_counted_to_its_limit_takes_the_estimate() -> None:
    samples = [Sample("queued", "noop", "default", 5_000), Sample("failed", "noop", "default", 9_000)]

    (due,) = with_estimates([lane(due=100, later=7)], samples)
    (later,) = with_estimates([lane(due=7, later=100)], samples)
    (whole,) = with_estimates([lane(due=7, later=7)], samples)

    assert (due.due, due.later) == (4_993, 7)
    assert (later.due, later.later) == (7, 4_993)
    assert (whole.due, whole.later) == (7, 7)


def test_lanes_of_one_queue_and_pipeline_share_one_estimate() -> None:
    samples = [Sample("queued", "noop", "default", 5_000), Sample("queued", "noop", "slow", 300)]
    lanes = [lane(due=100), lane(version=2, later=100), lane(version=3, due=20), lane("slow", due=100)]

    first, second, third, slow = with_estimates(lanes, samples)

    assert (first.due, second.later, third.due, slow.due) == (2_490, 2_490, 20, 300)
    assert sum(lane.due + lane.later for lane in (first, second, third)) == 5_000


def test_an_estimate_below_what_was_counted_is_ignored() -> None:
    (counted,) = with_estimates([lane(due=100)], [Sample("queued", "noop", "default", 40)])

    assert counted.due == 100


def test_jobs_are_counted_where_possible_and_sampled_elsewhere() -> None:
    samples = [Sample("succeeded", "noop", "a", 10), Sample("succeeded", "noop", "b", 5)]
    samples += [Sample("queued", "noop", "a", 99), Sample("running", "noop", "a", 99)]

    jobs = count_jobs(samples, queued={"noop": 3}, running={"noop": 2})

    assert jobs == {("succeeded", "noop"): 15, ("queued", "noop"): 3, ("running", "noop"): 2}


def test_pipelines_beyond_the_limit_are_counted_together() -> None:
    limit = FactsLimit(pipelines=2)
    jobs = {("queued", "a"): 1, ("queued", "b"): 2, ("queued", "c"): 3, ("failed", "d"): 4}

    limited = limit.apply(facts(jobs=jobs, unserved={("a", "1"): 1, ("c", "1"): 3, ("c", "2"): 4}))

    assert limited.jobs == {
        ("queued", "a"): 1,
        ("queued", "b"): 2,
        ("queued", "other"): 3,
        ("failed", "other"): 4,
    }
    assert limited.unserved == {("a", "1"): 1, ("other", "other"): 7}


def test_queues_that_callers_have_invented_do_not_displace_those_that_workers_serve() -> None:
    limit = FactsLimit(queues=2)
    workers = {"a": 0, "b": 0, "served": 3}

    limited = limit.apply(
        facts(workers=workers, due={"a": 1, "b": 2, "served": 4}, oldest_due_seconds={"a": 9.0, "b": 7.0})
    )

    assert limited.workers == {"a": 0, "other": 0, "served": 3}
    assert limited.due == {"a": 1, "other": 2, "served": 4}
    assert limited.oldest_due_seconds == {"a": 9.0, "other": 7.0}


def test_the_pipelines_of_the_last_facts_keep_their_series() -> None:
    limit = FactsLimit(pipelines=1)
    limit.apply(facts(jobs={("queued", "m"): 1}))

    assert limit.apply(facts(jobs={("queued", "a"): 1, ("queued", "m"): 1})).jobs.keys() == {
        ("queued", "m"),
        ("queued", "other"),
    }
    assert limit.apply(facts(jobs={("queued", "a"): 1})).jobs.keys() == {("queued", "a")}
