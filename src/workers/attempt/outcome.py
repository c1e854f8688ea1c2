"""How an attempt ends: what becomes of the job, the event that tells it, and the steps left behind."""

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
from headrace.workers.attempt.plan import Plan, StepPlan
from headrace.workers.attempt.waiting import StopSignal


class StopReason(StrEnum):
    """Why an attempt ends before its steps do."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    HANDED_BACK = "handed_back"
    OUT_OF_TIME = "out_of_time"
    FAILED = "failed"


class AttemptStatus(StopSignal):
    """Where an attempt stands: the number of its newest event, and whether and why it is to end.

    Its parts share this, and none of them the attempt: what is over is freed at once.
    """

    def __init__(self, head: int) -> None:
        super().__init__()
        self.head = head
        self.reason: StopReason | None = None

    def end(self, reason: StopReason) -> None:
        """End the attempt soon. The first reason counts, but a lost lease beats all."""
        if self.reason is None or reason is StopReason.LEASE_LOST:
            self.reason = reason
        self.set()

    def written(self, written: WriteResult) -> None:
        self.head = max(self.head, written.head)
        if written.verdict == "lost":
            self.end(StopReason.LEASE_LOST)


def conclude(
    plan: Plan,
    why: StopReason | None,
    failure: JobError | None,
    *,
    is_done: bool,
    now: Callable[[], datetime],
) -> tuple[JobMove, JobEvent]:
    """The job's move and its event. *is_done*: every step has succeeded. *now* is only recorded."""
    match why:
        case StopReason.CANCELLED:
            return JobMove(target=JobState.CANCELLED), JobCancelled()
        case StopReason.FAILED | StopReason.OUT_OF_TIME:
            error = failure if why is StopReason.FAILED and failure is not None else JOB_TIMEOUT
            return JobMove(target=JobState.FAILED, error=error), JobFailed(error=error)
        case _ if is_done:
            result = _result(plan)
            move = JobMove(target=JobState.SUCCEEDED, result=result)
            return move, JobSucceeded(result=msgspec.Raw(result.encode()))
        case _:
            return _requeue(plan, why, now)


def unfinished_steps(plan: Plan, target: JobState) -> Iterator[tuple[StepPlan, StepState]]:
    """The step runs that have begun and not ended, and what becomes of them."""
    for run in plan.runs():
        if run.state is StepState.RUNNING:
            yield run, StepState.PENDING if target is JobState.QUEUED else StepState.CANCELLED
        elif run.state is StepState.PENDING and run.tries and target is not JobState.QUEUED:
            yield run, StepState.CANCELLED


def _requeue(plan: Plan, why: StopReason | None, now: Callable[[], datetime]) -> tuple[JobMove, JobRequeued]:
    ready_at = plan.next_ready_at()
    wait = 0.0 if why is not None or ready_at is None else max(0.0, ready_at - time.monotonic())
    event = JobRequeued(
        reason="retry" if why is None else "handed_back", run_at=now() + timedelta(seconds=wait)
    )
    return JobMove(target=JobState.QUEUED, delay_seconds=wait), event


def _result(plan: Plan) -> str:
    for group in plan.groups.values():
        if group.node.is_result:
            return plan.output_of(group)
    return "null"
