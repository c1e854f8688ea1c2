"""What a fault costs the jobs that did not cause it: attempts, time and their place in the queue."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from faults.records import JobRecord


class Cost(Struct, frozen=True):
    """What a fault cost some jobs.

    *lost*: the most attempts that one of them lost. *paused*: the longest time in the queue after an attempt,
    in seconds. *overtaken*: how often one began for the first time while an earlier one waited again.
    *side_by_side*: how many ran their last attempts at the same time.
    """

    lost: int
    paused: float
    overtaken: int
    side_by_side: int


def cost_of(jobs: Sequence[JobRecord]) -> Cost:
    """Return what a fault cost these jobs, which all have ended."""
    pauses = [(job.events[0].at, *pause) for job in jobs for pause in _pauses(job)]
    starts = [(job.events[0].at, job.of_type("job.started")[0].at) for job in jobs]
    last_attempts = [(job.of_type("job.started")[-1].at, job.events[-1].at) for job in jobs]
    return Cost(
        lost=max(job.lost_attempts for job in jobs),
        paused=max((ended - began for _, began, ended in pauses), default=0.0),
        overtaken=sum(
            accepted > waiting_since and began < started < ended
            for waiting_since, began, ended in pauses
            for accepted, started in starts
        ),
        side_by_side=max(
            sum(began <= moment < ended for began, ended in last_attempts) for moment, _ in last_attempts
        ),
    )


def _pauses(job: JobRecord) -> Iterator[tuple[float, float]]:
    """Yield the times, in seconds since 1970, between which the job was in the queue after an attempt."""
    began = None
    for event in job.events:
        if event.type == "job.requeued":
            began = event.at
        elif event.type == "job.started" and began is not None:
            yield began, event.at
            began = None
