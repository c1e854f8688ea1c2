"""The reasons why a queued job does not run yet."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.jobs.waiting import why_queued

HERE = ({"default"}, {"render@1"})
QUEUES = st.sampled_from(["default", "night", "gpu"])
PIPELINES = st.sampled_from(["render@1", "render@2", "mix@1"])
SERVING = st.lists(st.tuples(st.sets(QUEUES), st.sets(PIPELINES)), max_size=3)


def why(*serving: tuple[set[str], set[str]], is_due: bool = True, attempt: int = 0) -> str:
    return why_queued("render@1", "default", is_due=is_due, attempt=attempt, serving=serving)


def test_a_new_job_waits_for_the_time_that_was_asked_for() -> None:
    assert why(is_due=False) == "run_at"


@pytest.mark.parametrize("attempt", [1, 2, 9])
def test_a_job_that_was_tried_waits_for_its_next_try(attempt: int) -> None:
    assert why(is_due=False, attempt=attempt) == "backoff"


def test_a_due_job_that_somebody_could_run_waits_for_a_worker_to_be_free() -> None:
    assert why(HERE) == "worker_busy"


def test_a_due_job_waits_for_a_worker_where_there_is_none() -> None:
    assert why() == "no_worker"


@pytest.mark.parametrize(
    "serving",
    [
        ({"night"}, {"render@1"}),
        ({"default"}, {"render@2"}),
        ({"default"}, {"render"}),
        (set(), {"render@1"}),
        ({"default"}, set()),
    ],
)
def test_a_worker_that_lacks_the_queue_or_the_version_is_none(serving: tuple[set[str], set[str]]) -> None:
    assert why(serving) == "no_worker"


def test_two_workers_that_each_know_a_half_are_none() -> None:
    assert why(({"default"}, {"mix@1"}), ({"night"}, {"render@1"})) == "no_worker"


def test_one_worker_among_others_is_enough() -> None:
    assert why(({"night"}, {"mix@1"}), HERE, (set(), set())) == "worker_busy"


def test_a_tried_job_that_is_due_waits_for_a_worker_like_a_new_one() -> None:
    assert why(HERE, attempt=3) == "worker_busy"
    assert why(attempt=3) == "no_worker"


@given(SERVING, st.integers(min_value=0, max_value=5))
def test_while_a_job_is_not_due_the_workers_do_not_matter(
    serving: list[tuple[set[str], set[str]]], attempt: int
) -> None:
    assert why(*serving, HERE, is_due=False, attempt=attempt) == why(is_due=False, attempt=attempt)


@given(PIPELINES, QUEUES, SERVING, st.integers(min_value=0, max_value=5))
def test_a_due_job_has_a_worker_where_one_serves_both_its_queue_and_its_pipeline(
    pipeline: str, queue: str, serving: list[tuple[set[str], set[str]]], attempt: int
) -> None:
    served = {pair for queues, pipelines in serving for pair in product(queues, pipelines)}

    reason = why_queued(pipeline, queue, is_due=True, attempt=attempt, serving=iter(serving))

    assert reason == ("worker_busy" if (queue, pipeline) in served else "no_worker")
