"""The rules of claims, leases and writes once more, in plain Python: what the SQL has to agree with. Pure."""

from typing import Final, Literal, NamedTuple

from headrace.domain.jobs.claim_rules import MAX_LOSSES
from headrace.domain.jobs.states import JobState

SUSPECT_LOSSES: Final = 2

Verdict = Literal["now", "before", "lost"]


class ModelJob(NamedTuple):
    """A job as far as the rules look at it. *is_expired*: its lease ran out; *is_late*: its time is over."""

    state: JobState = JobState.QUEUED
    is_due: bool = True
    attempt: int = 0
    losses: int = 0
    fence: int = 0
    write_no: int = 0
    holder: str | None = None
    is_cancel_asked: bool = False
    is_expired: bool = False
    is_late: bool = False


class Rules(NamedTuple):
    """The rules that a write is judged by; tests take one away to see it missed."""

    fence: bool = True
    write_no: bool = True
    overruling: bool = True


class Outcome(NamedTuple):
    """The job afterwards, and the types of the events that were told."""

    job: ModelJob
    told: tuple[str, ...] = ()
    verdict: Verdict = "now"


ALL_RULES: Final = Rules()


def can_be_claimed(job: ModelJob) -> bool:
    return job.state is JobState.QUEUED and job.is_due


def is_suspect(job: ModelJob) -> bool:
    """Whether the job is claimed only by a worker that runs nothing else."""
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
    told: tuple[str, ...],
    target: JobState | None = None,
    *,
    delayed: bool = False,
    rules: Rules = ALL_RULES,
) -> Outcome:
    """Write a change of the attempt *fence*; *target* ends it, and the last of *told* says so."""
    if rules.fence and fence != job.fence:
        return Outcome(job, verdict="lost")
    if rules.write_no and write_no <= job.write_no:
        return Outcome(job, verdict="before")
    if job.state is not JobState.RUNNING:
        return Outcome(job, verdict="lost")
    job = job._replace(write_no=write_no)
    if target is None:
        return Outcome(job, told)
    if rules.overruling and job.is_cancel_asked:
        return Outcome(_let_go(job, JobState.CANCELLED), (*told[:-1], "job.cancelled"))
    return Outcome(_let_go(job, target)._replace(is_due=not delayed), told)


def take_back(job: ModelJob) -> Outcome:
    """What the sweep does with a job whose lease ran out."""
    if not job.is_expired:
        return Outcome(job)
    losses = job.losses + 1
    if job.is_cancel_asked:
        target = JobState.CANCELLED
    else:
        target = JobState.FAILED if losses >= MAX_LOSSES else JobState.QUEUED
    return Outcome(_let_go(job, target)._replace(losses=losses), ("attempt.lost", _ending(target)))


def time_out(job: ModelJob) -> Outcome:
    """What the sweep does with a waiting job whose time is over."""
    if not (job.state is JobState.QUEUED and job.is_late):
        return Outcome(job)
    return Outcome(job._replace(state=JobState.FAILED), ("job.failed",))


def hand_back(job: ModelJob, worker: str, fence: int) -> Outcome:
    """Give up an attempt that *worker* holds without knowing of it."""
    if job.holder != worker or job.fence != fence:
        return Outcome(job)
    target = JobState.CANCELLED if job.is_cancel_asked else JobState.QUEUED
    return Outcome(_let_go(job, target), (_ending(target),))


def cancel(job: ModelJob) -> Outcome | None:
    """What a person's cancel does; None: refused."""
    if job.state.is_final:
        return None
    if job.state is JobState.QUEUED:
        return Outcome(job._replace(state=JobState.CANCELLED), ("job.cancelled",))
    told = () if job.is_cancel_asked else ("job.cancel_requested",)
    return Outcome(job._replace(is_cancel_asked=True), told)


def retry(job: ModelJob) -> Outcome | None:
    """What a person's retry does; None: refused."""
    if job.state is not JobState.FAILED:
        return None
    again = job._replace(state=JobState.QUEUED, is_due=True, losses=0, is_cancel_asked=False, is_late=False)
    return Outcome(again, ("job.retried",))


def _let_go(job: ModelJob, target: JobState) -> ModelJob:
    return job._replace(state=target, is_due=True, holder=None, is_expired=False)


def _ending(target: JobState) -> str:
    return "job.requeued" if target is JobState.QUEUED else f"job.{target}"
