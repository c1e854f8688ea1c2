"""The rules of claims, leases and writes in plain Python, as a model that the SQL must agree with. Pure."""

from typing import Final, Literal, NamedTuple

from headrace.domain.jobs.claim_rules import MAX_BLAMELESS_LOSSES, MAX_LOSSES
from headrace.domain.jobs.states import JobState

SUSPECT_LOSSES: Final = 2

Verdict = Literal["now", "before", "lost"]


class ModelJob(NamedTuple):
    """A job's fields for the rules. *is_expired*: its lease is over; *is_late*: its timeout has passed.

    *lost_in_a_row*: the attempts that were lost since a step succeeded, or a user retried the job.
    """

    state: JobState = JobState.QUEUED
    is_due: bool = True
    attempt: int = 0
    losses: int = 0
    lost_in_a_row: int = 0
    fence: int = 0
    write_no: int = 0
    holder: str | None = None
    is_cancel_requested: bool = False
    is_expired: bool = False
    is_late: bool = False


class Rules(NamedTuple):
    """The rules for a write; tests switch one off to prove that it is needed."""

    fence: bool = True
    write_no: bool = True
    overruling: bool = True


class Outcome(NamedTuple):
    """The job after a transition, and the types of its new events."""

    job: ModelJob
    events: tuple[str, ...] = ()
    verdict: Verdict = "now"


ALL_RULES: Final = Rules()


def can_be_claimed(job: ModelJob) -> bool:
    return job.state is JobState.QUEUED and job.is_due


def is_suspect(job: ModelJob) -> bool:
    """Return whether only a worker without other jobs may claim the job."""
    return job.losses >= SUSPECT_LOSSES


def claim(job: ModelJob, worker: str) -> Outcome:
    claimed = job._replace(
        state=JobState.RUNNING,
        attempt=job.attempt + 1,
        fence=job.fence + 1,
        write_no=0,
        holder=worker,
        is_expired=False,
    )
    return Outcome(claimed, ("job.started",))


def renew(job: ModelJob, worker: str) -> ModelJob:
    return job._replace(is_expired=False) if job.holder == worker else job


def write(
    job: ModelJob,
    fence: int,
    write_no: int,
    events: tuple[str, ...],
    target: JobState | None = None,
    *,
    delayed: bool = False,
    rules: Rules = ALL_RULES,
) -> Outcome:
    """Write a change of the attempt *fence*; *target* ends it, and the last of *events* is its end."""
    if rules.fence and fence != job.fence:
        return Outcome(job, verdict="lost")
    if rules.write_no and write_no <= job.write_no:
        return Outcome(job, verdict="before")
    if job.state is not JobState.RUNNING:
        return Outcome(job, verdict="lost")
    job = job._replace(write_no=write_no)
    if "step.succeeded" in events:
        job = job._replace(lost_in_a_row=0)
    if target is None:
        return Outcome(job._replace(is_expired=False), events)
    if rules.overruling and job.is_cancel_requested:
        return Outcome(_release(job, JobState.CANCELLED), (*events[:-1], "job.cancelled"))
    return Outcome(_release(job, target)._replace(is_due=not delayed), events)


def take_back(job: ModelJob) -> Outcome:
    """Sweep a job whose lease has expired. The job is not to blame, unless that happens again and again."""
    return lose(job, is_blamed=False) if job.is_expired else Outcome(job)


def die(job: ModelJob, worker: str, *, is_blamed: bool) -> Outcome:
    """End *worker*, which may hold the job and blame it."""
    return lose(job, is_blamed=is_blamed) if job.holder == worker else Outcome(job)


def lose(job: ModelJob, *, is_blamed: bool) -> Outcome:
    in_a_row = job.lost_in_a_row + 1
    losses = job.losses if job.lost_in_a_row else 0
    losses += is_blamed or in_a_row >= MAX_BLAMELESS_LOSSES
    if job.is_cancel_requested:
        target = JobState.CANCELLED
    else:
        target = JobState.FAILED if losses >= MAX_LOSSES else JobState.QUEUED
    lost = _release(job, target)._replace(losses=losses, lost_in_a_row=in_a_row)
    return Outcome(lost, ("attempt.lost", _end_event(target)))


def time_out(job: ModelJob) -> Outcome:
    """Sweep a waiting job whose time is over."""
    if not (job.state is JobState.QUEUED and job.is_late):
        return Outcome(job)
    return Outcome(job._replace(state=JobState.FAILED), ("job.failed",))


def hand_back(job: ModelJob, worker: str, fence: int) -> Outcome:
    """Release an attempt that *worker* holds without knowing it, after the response to its claim was lost."""
    if job.holder != worker or job.fence != fence:
        return Outcome(job)
    target = JobState.CANCELLED if job.is_cancel_requested else JobState.QUEUED
    return Outcome(_release(job, target), (_end_event(target),))


def cancel(job: ModelJob) -> Outcome | None:
    """Cancel a job for a user; None: refused."""
    if job.state.is_final:
        return None
    if job.state is JobState.QUEUED:
        return Outcome(job._replace(state=JobState.CANCELLED), ("job.cancelled",))
    events = () if job.is_cancel_requested else ("job.cancel_requested",)
    return Outcome(job._replace(is_cancel_requested=True), events)


def retry(job: ModelJob) -> Outcome | None:
    """Retry a job for a user; None: refused."""
    if job.state is not JobState.FAILED:
        return None
    retried = job._replace(
        state=JobState.QUEUED,
        is_due=True,
        losses=0,
        lost_in_a_row=0,
        is_cancel_requested=False,
        is_late=False,
    )
    return Outcome(retried, ("job.retried",))


def _release(job: ModelJob, target: JobState) -> ModelJob:
    return job._replace(state=target, is_due=True, holder=None, is_expired=False)


def _end_event(target: JobState) -> str:
    return "job.requeued" if target is JobState.QUEUED else f"job.{target}"
