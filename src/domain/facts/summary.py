"""Builds the facts from what the statements count: reasons, versions without a worker, estimates. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from headrace.domain.facts.models import Lane, Sample
from headrace.domain.jobs.states import JobState
from headrace.domain.jobs.waiting import ServingWorker, why_queued
from headrace.domain.pipelines.versions import version_key


class QueueFacts:
    """What the lanes of queued jobs say, with the live workers."""

    def __init__(self, lanes: Iterable[Lane], serving: Sequence[ServingWorker], *, backing_off: int) -> None:
        """*backing_off*: how many queued jobs wait between two attempts."""
        self.workers: Counter[str] = Counter(queue for worker in serving for queue in worker.queues)
        self.queued: Counter[str] = Counter()
        # The series of a queue that is served do not end when it is empty.
        self.due: Counter[str] = Counter(dict.fromkeys(self.workers, 0))
        self.oldest_due_seconds = dict.fromkeys(self.workers, 0.0)
        self.waiting: Counter[str] = Counter()
        self.unserved: Counter[tuple[str, str]] = Counter()
        self._serving = serving
        later = sum([self._add(lane) for lane in lanes])
        self.waiting.update(backoff=min(backing_off, later), run_at=max(later - backing_off, 0))
        self.waiting = +self.waiting

    def _add(self, lane: Lane) -> int:
        """Add the jobs of *lane*, and return how many of them are not due."""
        self.queued[lane.pipeline] += lane.due + lane.later
        self.due[lane.queue] += lane.due
        self.workers.setdefault(lane.queue, 0)
        if lane.oldest_due_seconds is not None:
            oldest = self.oldest_due_seconds.get(lane.queue, 0.0)
            self.oldest_due_seconds[lane.queue] = max(oldest, lane.oldest_due_seconds)
        reason = why_queued(
            version_key(lane.pipeline, lane.version),
            lane.queue,
            is_due=True,
            attempt=0,
            losses=lane.losses,
            needs_process=lane.needs_process,
            serving=self._serving,
        )
        if reason is not None and lane.due:
            self.waiting[reason] += lane.due
        if reason == "no_worker" and lane.due:
            self.unserved[lane.pipeline, str(lane.version)] += lane.due
        return lane.later


def with_estimates(lanes: Iterable[Lane], samples: Iterable[Sample]) -> list[Lane]:
    """Replace counts that ended at their limit by estimates, where these are larger."""
    queued: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        if sample.state == JobState.QUEUED:
            queued[sample.queue, sample.pipeline] += sample.count
    return [_with_estimate(lane, queued[lane.queue, lane.pipeline]) for lane in lanes]


def _with_estimate(lane: Lane, queued: int) -> Lane:
    if not lane.is_beyond_limit:
        return lane
    due, later = lane.due, lane.later
    if due >= lane.limit:
        due = max(due, queued - later)
    else:
        later = max(later, queued - due)
    return Lane(
        queue=lane.queue,
        pipeline=lane.pipeline,
        version=lane.version,
        needs_process=lane.needs_process,
        due=due,
        later=later,
        limit=lane.limit,
        oldest_due_seconds=lane.oldest_due_seconds,
        losses=lane.losses,
    )


def count_jobs(
    samples: Iterable[Sample], *, queued: Mapping[str, int], running: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """Return the jobs by state and pipeline. *queued* and *running* are counted, the others are sampled."""
    counts: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        if sample.state not in (JobState.QUEUED, JobState.RUNNING):
            counts[sample.state, sample.pipeline] += sample.count
    for state, pipelines in ((JobState.QUEUED, queued), (JobState.RUNNING, running)):
        for pipeline, count in pipelines.items():
            counts[str(state), pipeline] += count
    return dict(counts)
