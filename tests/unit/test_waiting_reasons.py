"""The reasons why a queued job does not run yet."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.jobs.waiting import ServingWorker, why_queued

FULL = 2


def worker(queues: set[str], pipelines: set[str], running: int = FULL) -> ServingWorker:
    return ServingWorker(queues, pipelines, running, FULL)


MATCHING = worker({"default"}, {"render@1"})
QUEUES = st.sampled_from(["default", "night", "gpu"])
PIPELINES = st.sampled_from(["render@1", "render@2", "mix@1"])
SERVING = st.lists(st.builds(worker, st.sets(QUEUES), st.sets(PIPELINES)), max_size=3)


def why(
    *serving: ServingWorker,
    is_due: bool = True,
    attempt: int = 0,
    losses: int = 0,
    needs_process: bool = False,
) -> str | None:
    return why_queued(
        "render@1",
        "default",
        is_due=is_due,
        attempt=attempt,
        losses=losses,
        needs_process=needs_process,
        serving=serving,
    )


def test_a_new_job_waits_for_its_run_at() -> None:
    assert why(is_due=False) == "run_at"


@pytest.mark.parametrize("attempt", [1, 2, 9])
def test_a_job_that_was_tried_waits_for_its_backoff(attempt: int) -> None:
    assert why(is_due=False, attempt=attempt) == "backoff"


def test_a_due_job_with_a_matching_worker_waits_for_it_to_be_free() -> None:
    assert why(MATCHING) == "worker_busy"


def test_a_due_job_waits_for_nothing_while_a_worker_that_serves_it_has_room() -> None:
    assert why(MATCHING, worker({"default"}, {"render@1"}, running=FULL - 1)) is None
    assert why(MATCHING, worker({"default"}, {"mix@1"}, running=0)) == "worker_busy"


def test_a_due_process_job_waits_for_nothing_while_a_worker_that_serves_it_is_idle() -> None:
    assert why(worker({"default"}, {"render@1"}, running=0), needs_process=True) is None
    assert why(worker({"default"}, {"render@1"}, running=1), needs_process=True) == "process_slots_busy"


def test_a_due_job_without_a_worker_waits_for_one() -> None:
    assert why() == "no_worker"


@pytest.mark.parametrize(
    "serving",
    [
        worker({"night"}, {"render@1"}),
        worker({"default"}, {"render@2"}),
        worker({"default"}, {"render"}),
        worker(set(), {"render@1"}),
        worker({"default"}, set()),
    ],
)
def test_a_worker_without_the_queue_or_the_version_does_not_count(serving: ServingWorker) -> None:
    assert why(serving) == "no_worker"


def test_two_workers_that_match_only_together_do_not_count() -> None:
    assert why(worker({"default"}, {"mix@1"}), worker({"night"}, {"render@1"})) == "no_worker"


def test_one_matching_worker_is_enough() -> None:
    assert why(worker({"night"}, {"mix@1"}), MATCHING, worker(set(), set())) == "worker_busy"


def test_a_tried_job_that_is_due_waits_for_a_worker_like_a_new_one() -> None:
    assert why(MATCHING, attempt=3) == "worker_busy"
    assert why(attempt=3) == "no_worker"


@pytest.mark.parametrize(("losses", "reason"), [(1, "worker_busy"), (2, "quarantined"), (4, "quarantined")])
def test_a_job_that_ended_two_workers_waits_for_a_process_of_its_own(losses: int, reason: str) -> None:
    assert why(MATCHING, attempt=3, losses=losses) == reason


def test_a_due_job_that_begins_in_a_process_waits_for_a_slot() -> None:
    assert why(MATCHING, needs_process=True) == "process_slots_busy"
    assert why(needs_process=True) == "no_worker"
    assert why(MATCHING, needs_process=True, is_due=False) == "run_at"
    assert why(MATCHING, needs_process=True, losses=2) == "quarantined"


def test_quarantine_is_not_the_reason_where_no_worker_serves_the_job_or_it_is_not_due() -> None:
    assert why(losses=2) == "no_worker"
    assert why(MATCHING, is_due=False, attempt=2, losses=2) == "backoff"


@given(SERVING, st.integers(min_value=0, max_value=5))
def test_workers_do_not_matter_before_a_job_is_due(serving: list[ServingWorker], attempt: int) -> None:
    assert why(*serving, MATCHING, is_due=False, attempt=attempt) == why(is_due=False, attempt=attempt)


@given(PIPELINES, QUEUES, SERVING, st.integers(min_value=0, max_value=5))
def test_a_due_job_has_a_worker_if_one_serves_both_its_queue_and_its_pipeline(
    pipeline: str, queue: str, serving: list[ServingWorker], attempt: int
) -> None:
    served = {pair for one in serving for pair in product(one.queues, one.pipelines)}

    reason = why_queued(
        pipeline, queue, is_due=True, attempt=attempt, losses=0, needs_process=False, serving=iter(serving)
    )

    assert reason == ("worker_busy" if (queue, pipeline) in served else "no_worker")
