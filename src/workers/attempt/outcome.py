"""Decides how an attempt ends: the job's next state, its final event and the rows of unfinished steps."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from headrace.domain.events.types import (
    JobCancelled,
    JobError,
    JobEvent,
    JobFailed,
    JobRequeued,
    JobSucceeded,
)
from headrace.domain.jobs.attempts.changes import JobMove, WriteResult
from headrace.domain.jobs.attempts.queue import JOB_TIMEOUT
from headrace.domain.jobs.states import JobState, StepState
from headrace.domain.omissions import MAX_REPEATED_BYTES
from headrace.workers.attempt.plan import Plan, StepPlan
from headrace.workers.attempt.waiting import StopSignal


class StopReason(StrEnum):
    """Why an attempt ends before all its steps have succeeded."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    HANDED_BACK = "handed_back"
    OUT_OF_TIME = "out_of_time"
    FAILED = "failed"


class AttemptStatus(StopSignal):
    """The state that the parts of an attempt share: its newest event number, and whether and why it stops.

    The parts refer to this and not to the attempt, so that a finished attempt is freed without a cycle.
    """

    def __init__(self, head: int) -> None:
        super().__init__()
        self.head = head
        self.reason: StopReason | None = None

    def stop(self, reason: StopReason) -> None:
        """Stop the attempt. The first reason counts, except that a lost lease overrides all."""
        if self.reason is None or reason is StopReason.LEASE_LOST:
            self.reason = reason
        self.set()

    def on_written(self, result: WriteResult) -> None:
        """Take over the newest event number; stop the attempt if its lease was lost."""
        self.head = max(self.head, result.head)
        if result.verdict == "lost":
            self.stop(StopReason.LEASE_LOST)


def conclude(
    plan: Plan,
    reason: StopReason | None,
    failure: JobError | None,
    *,
    is_done: bool,
    now: Callable[[], datetime],
    pause_seconds: float = 0.0,
    waited_seconds: float = 0.0,
) -> tuple[JobMove, JobEvent]:
    """Return the job's move and its event.

    *is_done*: every step has succeeded, the last one perhaps within its grace time. *now* is only recorded.
    *pause_seconds*: how long a job that is handed back rests. *waited_seconds*: how long the attempt has
    only waited.
    """
    match reason:
        case StopReason.CANCELLED:
            return JobMove(target=JobState.CANCELLED), JobCancelled()
        case StopReason.FAILED if failure is not None:
            return JobMove(target=JobState.FAILED, error=failure), JobFailed(error=failure)
        case _ if is_done:
            return _success(plan)
        case StopReason.OUT_OF_TIME:
            return JobMove(target=JobState.FAILED, error=JOB_TIMEOUT), JobFailed(error=JOB_TIMEOUT)
        case _:
            return _requeue(plan, reason, now, pause_seconds, waited_seconds)


def unfinished_steps(plan: Plan, target: JobState) -> Iterator[tuple[StepPlan, StepState]]:
    """Yield the step runs that have started but not ended, with the state that each gets.

    The row of a run that only waits for a slot is right as it is, if the job goes on.
    """
    for run in plan.runs():
        if run.state is StepState.RUNNING and (run.has_slot or target is not JobState.QUEUED):
            yield run, StepState.PENDING if target is JobState.QUEUED else StepState.CANCELLED
        elif run.state is StepState.PENDING and run.tries and target is not JobState.QUEUED:
            yield run, StepState.CANCELLED


def _requeue(
    plan: Plan,
    reason: StopReason | None,
    now: Callable[[], datetime],
    pause_seconds: float,
    waited_seconds: float,
) -> tuple[JobMove, JobRequeued]:
    """Requeue the job: after its pause if it was handed back, else for its earliest retry."""
    delay = pause_seconds
    if reason is None and (ready_at := plan.next_ready_at()) is not None:
        delay = max(0.0, ready_at - time.monotonic())
    event = JobRequeued(
        reason="retry" if reason is None else "handed_back", run_at=now() + timedelta(seconds=delay)
    )
    move = JobMove(
        target=JobState.QUEUED,
        delay_seconds=delay,
        needs_process=plan.needs_process(time.monotonic() + delay),
        waited_seconds=waited_seconds,
        ended_at=time.monotonic(),
    )
    return move, event


def _success(plan: Plan) -> tuple[JobMove, JobSucceeded]:
    """Return the success of the job with its result; a large one is stored already, as its step's outputs."""
    group = next((group for group in plan.groups.values() if group.node.is_result), None)
    if group is None:
        return _small_success("null", b"null")
    # A result of many characters is not built, and one of few may still have many bytes.
    if plan.output_chars(group) <= MAX_REPEATED_BYTES:
        result = plan.output_of(group)
        encoded = result.encode()
        if len(encoded) <= MAX_REPEATED_BYTES:
            return _small_success(result, encoded)
    move = JobMove(target=JobState.SUCCEEDED, result_step=group.node.name)
    return move, JobSucceeded(result=None, result_omitted=True)


def _small_success(result: str, encoded: bytes) -> tuple[JobMove, JobSucceeded]:
    return JobMove(target=JobState.SUCCEEDED, result=result), JobSucceeded(result=msgspec.Raw(encoded))
