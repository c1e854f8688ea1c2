"""How an attempt ends: the job's move, its event, and the states of unfinished steps."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import product

import pytest

from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobCancelled, JobError, JobEvent, JobFailed, JobRequeued
from headrace.domain.jobs.attempts.changes import JobMove
from headrace.domain.jobs.attempts.queue import JOB_TIMEOUT
from headrace.domain.jobs.states import JobState, StepState
from headrace.workers.attempt.outcome import StopReason, conclude, unfinished_steps
from headrace.workers.attempt.plan import Plan
from support.worker_builders import NOON, Clock, new_pipeline, record, start_all, stored, succeed

FAILURE = JobError(code="step_failed", message="it failed", step="a")
DONE, UNFINISHED = True, False
TARGETS = {
    (None, DONE): JobState.SUCCEEDED,
    (None, UNFINISHED): JobState.QUEUED,
    (StopReason.CANCELLED, DONE): JobState.CANCELLED,
    (StopReason.CANCELLED, UNFINISHED): JobState.CANCELLED,
    (StopReason.FAILED, DONE): JobState.FAILED,
    (StopReason.FAILED, UNFINISHED): JobState.FAILED,
    (StopReason.OUT_OF_TIME, DONE): JobState.SUCCEEDED,
    (StopReason.OUT_OF_TIME, UNFINISHED): JobState.FAILED,
    (StopReason.HANDED_BACK, DONE): JobState.SUCCEEDED,
    (StopReason.HANDED_BACK, UNFINISHED): JobState.QUEUED,
    # Without the lease, nothing that the attempt writes has an effect.
    (StopReason.LEASE_LOST, DONE): JobState.SUCCEEDED,
    (StopReason.LEASE_LOST, UNFINISHED): JobState.QUEUED,
}
EVENTS = {
    JobState.SUCCEEDED: "job.succeeded",
    JobState.FAILED: "job.failed",
    JobState.CANCELLED: "job.cancelled",
    JobState.QUEUED: "job.requeued",
}
FINAL = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock that the outcome reads; it shows 100 s."""
    clock = Clock(100.0)
    monkeypatch.setattr("headrace.workers.attempt.outcome.time", clock)
    return clock


def noon() -> datetime:
    return NOON


def two_steps(result: str | None = None) -> Plan:
    return Plan(new_pipeline({"a": (), "b": ()}, result=result), {}, 0.0)


def end(
    plan: Plan, reason: StopReason | None = None, *, is_done: bool, failure: JobError | None = None
) -> tuple[JobMove, JobEvent]:
    return conclude(plan, reason, failure, is_done=is_done, now=noon)


def unfinished_states(plan: Plan, target: JobState) -> dict[str, StepState]:
    return {run.key: state for run, state in unfinished_steps(plan, target)}


def test_a_job_that_is_handed_back_rests_for_its_pause() -> None:
    move, event = conclude(
        two_steps(), StopReason.HANDED_BACK, None, is_done=False, now=noon, pause_seconds=30.0
    )

    assert move.delay_seconds == 30.0
    assert isinstance(event, JobRequeued)
    assert (event.reason, event.run_at) == ("handed_back", NOON + timedelta(seconds=30))


@pytest.mark.parametrize(("reason", "is_done"), list(product([None, *StopReason], [DONE, UNFINISHED])))
def test_the_stop_reason_and_the_finished_steps_decide_the_next_job_state(
    reason: StopReason | None, is_done: bool
) -> None:
    move, event = end(two_steps(), reason, is_done=is_done, failure=FAILURE)

    assert move.target is TARGETS[reason, is_done]
    assert encode_event(event).type == EVENTS[move.target]


def test_a_cancelled_job_has_neither_result_nor_error() -> None:
    move, event = end(two_steps("a"), StopReason.CANCELLED, is_done=True, failure=FAILURE)

    assert move == JobMove(target=JobState.CANCELLED)
    assert event == JobCancelled()


def test_a_failed_job_has_the_error_of_its_failure() -> None:
    move, event = end(two_steps(), StopReason.FAILED, is_done=False, failure=FAILURE)

    assert move == JobMove(target=JobState.FAILED, error=FAILURE)
    assert event == JobFailed(error=FAILURE)


def test_the_timeout_error_of_a_job_replaces_the_error_of_a_step() -> None:
    move, event = end(two_steps(), StopReason.OUT_OF_TIME, is_done=False, failure=FAILURE)

    assert move == JobMove(target=JobState.FAILED, error=JOB_TIMEOUT)
    assert event == JobFailed(error=JobError(code="job_timeout", message="the job is out of time"))


def results(plan: Plan, outputs: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the result in the move and the body of the event, once all steps have these outputs."""
    for run in start_all(plan):
        succeed(plan, run, outputs[run.key])
    move, event = end(plan, is_done=True)
    return move.result, encode_event(event).body


def test_the_result_of_a_job_is_the_output_of_its_result_step() -> None:
    outputs = {"a": "1", "b": '{"x":[2.0]}'}

    assert results(two_steps("b"), outputs) == ('{"x":[2.0]}', '{"result":{"x":[2.0]}}')
    assert results(two_steps("a"), outputs) == ("1", '{"result":1}')


def test_a_job_without_a_result_step_has_a_null_result() -> None:
    assert results(two_steps(), {"a": "1", "b": "2"}) == ("null", '{"result":null}')


def test_the_result_of_a_step_with_items_is_the_list_of_its_outputs() -> None:
    plan = Plan(new_pipeline({"many": ()}, for_each={"many"}, result="many"), {}, 0.0)
    plan.expand(plan.to_expand.popleft(), ["7", "8"])

    assert results(plan, {"many[0]": "70", "many[1]": "80"}) == ("[70,80]", '{"result":[70,80]}')


def test_the_result_of_a_step_without_items_is_an_empty_list() -> None:
    plan = Plan(new_pipeline({"many": ()}, for_each={"many"}, result="many"), {}, 0.0)
    plan.expand(plan.to_expand.popleft(), [])

    assert results(plan, {}) == ("[]", '{"result":[]}')


def test_a_job_whose_step_waits_is_queued_until_its_next_try(clock: Clock) -> None:
    plan = two_steps()
    a, b = start_all(plan)
    plan.retry_at(a, clock.at + 30.0)
    plan.retry_at(b, clock.at + 12.5)

    move, event = end(plan, is_done=False)

    assert move == JobMove(target=JobState.QUEUED, delay_seconds=12.5, ended_at=clock.at)
    assert event == JobRequeued(reason="retry", run_at=NOON + timedelta(seconds=12.5))


def test_a_job_with_an_overdue_retry_is_queued_without_a_delay(clock: Clock) -> None:
    plan = two_steps()
    for run in start_all(plan):
        plan.retry_at(run, clock.at - 5.0)

    move, event = end(plan, is_done=False)

    assert move == JobMove(target=JobState.QUEUED, delay_seconds=0.0, ended_at=clock.at)
    assert event == JobRequeued(reason="retry", run_at=NOON)


def test_a_job_without_waiting_steps_is_queued_without_a_delay(clock: Clock) -> None:
    plan = two_steps()
    start_all(plan)

    move, event = end(plan, is_done=False)

    assert move == JobMove(target=JobState.QUEUED, delay_seconds=0.0, ended_at=clock.at)
    assert event == JobRequeued(reason="retry", run_at=NOON)


def test_a_handed_back_job_is_queued_without_a_delay_even_if_steps_wait(clock: Clock) -> None:
    plan = two_steps()
    for run in start_all(plan):
        plan.retry_at(run, clock.at + 30.0)

    move, event = end(plan, StopReason.HANDED_BACK, is_done=False)

    assert move == JobMove(target=JobState.QUEUED, delay_seconds=0.0, ended_at=clock.at)
    assert event == JobRequeued(reason="handed_back", run_at=NOON)


def test_a_running_step_becomes_pending_when_the_job_is_queued_again() -> None:
    plan = two_steps()
    run = plan.start_next(0.0)
    assert run is not None
    run.has_slot = True

    assert unfinished_states(plan, JobState.QUEUED) == {"a": StepState.PENDING}


def test_a_step_that_only_waits_for_a_slot_is_unchanged_when_the_job_is_queued_again() -> None:
    plan = two_steps()
    plan.start_next(0.0)

    assert unfinished_states(plan, JobState.QUEUED) == {}


@pytest.mark.parametrize("target", FINAL)
def test_a_running_step_is_cancelled_when_the_job_ends(target: JobState) -> None:
    plan = two_steps()
    plan.start_next(0.0)

    assert unfinished_states(plan, target) == {"a": StepState.CANCELLED}


def waiting() -> Plan:
    """Return a plan whose step `a` has failed once and waits; step `b` has not started."""
    return Plan(new_pipeline({"a": (), "b": ()}), stored(record("a", tries=1, retry_seconds=9.0)), 0.0)


def test_a_waiting_step_is_unchanged_when_the_job_is_queued_again() -> None:
    assert unfinished_states(waiting(), JobState.QUEUED) == {}


@pytest.mark.parametrize("target", FINAL)
def test_a_waiting_step_is_cancelled_when_the_job_ends(target: JobState) -> None:
    assert unfinished_states(waiting(), target) == {"a": StepState.CANCELLED}


@pytest.mark.parametrize("target", [*FINAL, JobState.QUEUED])
def test_steps_that_never_started_or_have_ended_are_unchanged(target: JobState) -> None:
    plan = Plan(new_pipeline({"done": (), "failed": (), "later": ("failed",)}), {}, 0.0)
    done, failed = start_all(plan)
    plan.succeed(done)
    failed.state, failed.tries = StepState.FAILED, 1

    assert unfinished_states(plan, target) == {}


def test_unfinished_items_are_listed_separately() -> None:
    plan = Plan(new_pipeline({"many": ()}, for_each={"many"}), {}, 0.0)
    plan.expand(plan.to_expand.popleft(), ["1", "2", "3"])
    first, second, third = start_all(plan)
    plan.succeed(first)
    second.tries = 1
    third.has_slot = True
    plan.retry_at(second, 9.0)

    assert unfinished_states(plan, JobState.QUEUED) == {"many[2]": StepState.PENDING}
    assert unfinished_states(plan, JobState.CANCELLED) == {
        "many[1]": StepState.CANCELLED,
        "many[2]": StepState.CANCELLED,
    }


def test_the_time_that_an_attempt_waited_for_slots_is_part_of_its_move_only_if_the_job_goes_on() -> None:
    requeued, _ = conclude(two_steps(), None, None, is_done=False, now=noon, waited_seconds=0.5)
    ended, _ = conclude(two_steps(), None, None, is_done=True, now=noon, waited_seconds=0.5)

    assert (requeued.waited_seconds, ended.waited_seconds) == (0.5, 0.0)
