"""A plan that continues from the stored step runs of earlier attempts."""

from typing import Any

import pytest
from msgspec import structs

from headrace import Pipeline, StepContext, step
from headrace.domain.jobs.attempts.claims import StepRecord
from headrace.domain.jobs.states import StepState
from headrace.domain.pipelines.definition import OnLoss
from headrace.workers.attempt.plan import Plan
from support.worker_builders import keys, new_pipeline, record, start_all, stored, succeed, succeeded

CHAIN = {"first": (), "second": ("first",)}
DIAMOND = {"top": (), "left": ("top",), "right": ("top",), "bottom": ("left", "right")}
MANY = {"many": (), "after": ("many",)}
NOW = 100.0


def restore(graph: dict[str, tuple[str, ...]], *records: StepRecord) -> Plan:
    """Return the plan of a later attempt; a step named `many` runs once for each item."""
    return Plan(new_pipeline(graph, for_each={"many"}), stored(*records), NOW)


def test_a_step_that_succeeded_never_starts_again() -> None:
    plan = restore(CHAIN, succeeded("first"))

    assert keys(start_all(plan, NOW)) == ["second"]


def test_a_step_waits_for_its_unfinished_predecessors() -> None:
    plan = restore(DIAMOND, succeeded("top"), succeeded("right"))
    (left,) = start_all(plan, NOW)

    succeed(plan, left)

    assert left.key == "left"
    assert keys(start_all(plan, NOW)) == ["bottom"]


def test_unfinished_steps_start_in_the_order_of_the_graph() -> None:
    plan = restore(DIAMOND, record("right", StepState.RUNNING), record("left"), succeeded("top"))

    assert keys(start_all(plan, NOW)) == ["left", "right"]


def test_a_plan_whose_steps_all_succeeded_is_done() -> None:
    plan = restore(CHAIN, succeeded("first"), succeeded("second"))

    assert plan.is_done
    assert start_all(plan, NOW) == []


def test_a_plan_with_an_unfinished_step_is_not_done() -> None:
    assert not restore(CHAIN, succeeded("first")).is_done


def test_the_only_unfinished_step_is_the_last() -> None:
    plan = restore(DIAMOND, succeeded("top"), succeeded("left"), succeeded("right"))
    (bottom,) = start_all(plan, NOW)

    assert plan.is_last(bottom)


def test_the_output_of_an_earlier_attempt_is_available() -> None:
    plan = restore(CHAIN, succeeded("first", '{"a":1}'))

    assert plan.output_of(plan.groups["first"]) == '{"a":1}'


def test_a_missing_output_of_a_successful_step_is_null() -> None:
    plan = restore(CHAIN, succeeded("first", None))

    assert [run.output for run in plan.runs()] == ["null", None]


@pytest.mark.parametrize(
    "state", [StepState.PENDING, StepState.RUNNING, StepState.FAILED, StepState.CANCELLED]
)
def test_a_step_that_did_not_succeed_starts_again_with_its_tries_counted(state: StepState) -> None:
    plan = restore(CHAIN, record("first", state, tries=2))

    assert [(run.key, run.tries) for run in start_all(plan, NOW)] == [("first", 2)]


def test_a_step_waits_for_the_rest_of_its_retry_delay() -> None:
    plan = restore(CHAIN, record("first", tries=1, retry_seconds=7.5))

    assert plan.next_ready_at() == NOW + 7.5
    assert start_all(plan, NOW + 7.4) == []
    assert keys(start_all(plan, NOW + 7.5)) == ["first"]


def test_a_step_whose_retry_delay_is_over_starts_at_once() -> None:
    plan = restore(CHAIN, record("first", tries=1, retry_seconds=-3.0))

    assert keys(start_all(plan, NOW)) == ["first"]


def test_a_waiting_step_does_not_delay_other_steps() -> None:
    plan = restore({"a": (), "b": ()}, record("a", tries=1, retry_seconds=5.0))

    assert plan.next_ready_at() == 0.0
    assert keys(start_all(plan, NOW)) == ["b"]
    assert keys(start_all(plan, NOW + 5.0)) == ["a"]


def test_a_step_that_succeeded_does_not_wait_for_a_retry() -> None:
    plan = restore({"only": ()}, record("only", StepState.SUCCEEDED, tries=1, retry_seconds=5.0))

    assert plan.is_done
    assert plan.next_ready_at() is None


def test_stored_items_are_not_requested_again() -> None:
    plan = restore(MANY, succeeded("many", None, items='["a","b"]'))

    assert list(plan.to_expand) == []
    assert [(run.key, run.index, run.item) for run in start_all(plan, NOW)] == [
        ("many[0]", 0, '"a"'),
        ("many[1]", 1, '"b"'),
    ]


def test_items_that_were_not_stored_are_requested() -> None:
    plan = restore({"plain": (), "many": ()}, succeeded("plain"))

    assert [group.node.name for group in plan.to_expand] == ["many"]


def test_only_unfinished_items_start_again() -> None:
    plan = restore(
        MANY,
        succeeded("many", None, items="[1,2,3,4]"),
        succeeded("many[1]"),
        record("many[2]", tries=1, retry_seconds=9.0),
        record("many[3]", StepState.RUNNING),
    )

    assert keys(start_all(plan, NOW)) == ["many[0]", "many[3]"]
    assert keys(start_all(plan, NOW + 9.0)) == ["many[2]"]


def test_the_step_after_the_items_waits_for_the_unfinished_ones() -> None:
    plan = restore(MANY, succeeded("many", None, items="[1,2,3]"), succeeded("many[0]"), succeeded("many[2]"))
    (run,) = start_all(plan, NOW)
    before = start_all(plan, NOW)

    succeed(plan, run)

    assert before == []
    assert keys(start_all(plan, NOW)) == ["after"]


def test_the_step_after_the_items_starts_when_all_had_succeeded() -> None:
    plan = restore(
        MANY, succeeded("many", None, items="[1,2]"), succeeded("many[0]", "10"), succeeded("many[1]", "20")
    )

    assert plan.output_of(plan.groups["many"]) == "[10,20]"
    assert keys(start_all(plan, NOW)) == ["after"]


def test_a_step_that_had_no_items_stays_done() -> None:
    plan = restore(MANY, succeeded("many", None, items="[]"))

    assert list(plan.to_expand) == []
    assert keys(start_all(plan, NOW)) == ["after"]


def test_the_only_unfinished_item_is_the_last() -> None:
    plan = restore({"many": ()}, succeeded("many", None, items="[1,2]"), succeeded("many[0]"))
    (run,) = start_all(plan, NOW)

    assert plan.is_last(run)


def test_a_run_of_an_earlier_attempt_holds_no_slot() -> None:
    plan = restore(CHAIN, record("first", StepState.RUNNING, tries=1))

    assert [run.has_slot for run in plan.runs()] == [False, False]


def test_a_step_that_ran_once_is_refused_if_it_now_runs_per_item() -> None:
    plan = restore(MANY, succeeded("many"))

    assert plan.refusal is not None
    run, error = plan.refusal
    assert (run.key, error.code, error.step) == ("many", "step_changed", "many")
    assert error.message.startswith("step 'many' ran once when the job ran it")


def test_a_step_that_ran_per_item_is_refused_if_it_now_runs_once() -> None:
    plan = restore(CHAIN, record("first", StepState.SUCCEEDED, items="[1, 2]"))

    assert plan.refusal is not None
    assert plan.refusal[1].code == "step_changed"
    assert "ran once per item" in plan.refusal[1].message


def test_a_step_that_has_not_run_may_change_its_kind() -> None:
    assert restore(MANY, record("many", StepState.PENDING)).refusal is None
    assert restore(CHAIN, succeeded("first")).refusal is None
    assert restore(MANY, record("many", StepState.SUCCEEDED, items="[1]")).refusal is None


@pytest.mark.parametrize(
    ("on_loss", "is_open", "code"),
    [("fail", True, "step_lost"), ("fail", False, None), ("retry", True, None)],
)
def test_only_an_open_step_that_must_not_run_twice_is_refused(
    on_loss: OnLoss, is_open: bool, code: str | None
) -> None:
    async def pay(context: StepContext[Any]) -> None: ...

    pipeline = Pipeline("paying", params=dict)
    pipeline.add(step(on_loss=on_loss)(pay))
    plan = Plan(pipeline, stored(structs.replace(record("pay", StepState.PENDING), is_open=is_open)), NOW)

    assert (plan.refusal and plan.refusal[1].code) == code
