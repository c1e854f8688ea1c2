"""When failed steps are retried, and which step can run alone."""

from typing import Literal

import pytest

from headrace.domain.jobs.states import StepState
from headrace.workers.attempt.plan import Plan
from support.worker_builders import keys, new_pipeline, start_all, start_next, start_next_key


def new_plan(graph: dict[str, tuple[str, ...]]) -> Plan:
    return Plan(new_pipeline(graph), {}, 0.0)


def test_a_postponed_step_starts_at_its_retry_time() -> None:
    plan = new_plan({"only": ()})
    run = start_next(plan)

    plan.retry_at(run, 10.0)

    assert start_next_key(plan, 9.9) is None
    assert plan.start_next(10.0) is run


def test_a_step_is_pending_while_it_waits_and_running_when_it_starts_again() -> None:
    plan = new_plan({"only": ()})
    run = start_next(plan)

    plan.retry_at(run, 10.0)
    states = [run.state]
    plan.start_next(10.0)
    states.append(run.state)

    assert states == [StepState.PENDING, StepState.RUNNING]


def test_postponed_steps_start_in_the_order_of_their_retry_times() -> None:
    plan = new_plan({"a": (), "b": (), "c": ()})
    a, b, c = start_all(plan)

    plan.retry_at(a, 3.0)
    plan.retry_at(b, 1.0)
    plan.retry_at(c, 2.0)

    assert keys(start_all(plan, 3.0)) == ["b", "c", "a"]


def test_steps_postponed_to_the_same_time_start_in_the_order_of_their_failures() -> None:
    plan = new_plan({"a": (), "b": (), "c": ()})
    a, b, c = start_all(plan)

    for run in (c, a, b):
        plan.retry_at(run, 1.0)

    assert keys(start_all(plan, 1.0)) == ["c", "a", "b"]


def test_a_postponed_step_starts_after_steps_that_never_ran() -> None:
    plan = new_plan({"a": (), "b": (), "c": ()})

    plan.retry_at(start_next(plan), 1.0)

    assert keys(start_all(plan, 1.0)) == ["b", "c", "a"]


def test_the_followers_of_a_postponed_step_wait_with_it() -> None:
    plan = new_plan({"first": (), "second": ("first",)})

    plan.retry_at(start_next(plan), 1.0)

    assert keys(start_all(plan, 1.0)) == ["first"]


def test_there_is_no_ready_time_if_no_step_is_ready_or_postponed() -> None:
    plan = new_plan({"first": (), "second": ("first",)})
    start_next(plan)

    assert plan.next_ready_at() is None


def test_a_step_that_can_start_is_ready_at_once_even_if_others_wait() -> None:
    plan = new_plan({"a": (), "b": ()})
    plan.retry_at(start_next(plan), 10.0)

    assert plan.next_ready_at() == 0.0


def test_the_next_ready_time_is_that_of_the_earliest_postponed_step() -> None:
    plan = new_plan({"a": (), "b": ()})
    a, b = start_all(plan)

    plan.retry_at(a, 20.0)
    plan.retry_at(b, 10.0)

    assert plan.next_ready_at() == 10.0


def test_a_loop_step_is_lone_when_nothing_else_can_start() -> None:
    plan = new_plan({"first": (), "second": ("first",)})

    run = plan.start_lone()

    assert run is not None
    assert (run.key, run.state) == ("first", StepState.RUNNING)


@pytest.mark.parametrize("runs_in", ["thread", "process"])
def test_a_step_outside_the_loop_is_never_lone(runs_in: Literal["thread", "process"]) -> None:
    plan = Plan(new_pipeline({"only": ()}, runs_in=runs_in), {}, 0.0)

    lone = plan.start_lone()

    assert lone is None
    assert start_next_key(plan) == "only"


def test_no_step_is_lone_beside_another_that_can_start() -> None:
    plan = new_plan({"a": (), "b": ()})

    lone = plan.start_lone()

    assert lone is None
    assert keys(start_all(plan)) == ["a", "b"]


def test_no_step_is_lone_beside_another_that_waits() -> None:
    plan = new_plan({"a": (), "b": ()})
    plan.retry_at(start_next(plan), 10.0)

    assert plan.start_lone() is None


def test_no_step_is_lone_if_none_can_start() -> None:
    plan = new_plan({"only": ()})
    start_next(plan)

    assert plan.start_lone() is None
