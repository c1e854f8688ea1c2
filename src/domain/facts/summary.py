"""Builds the facts from what the statements count: reasons, versions without a worker, estimates. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

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
    """Add the sampled jobs that were not counted to the lanes whose counts ended at their limit.

    Samples know no lanes, so the lanes of a queue and a pipeline share these jobs equally.
    """
    lanes = list(lanes)
    uncounted: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        if sample.state == JobState.QUEUED:
            uncounted[sample.queue, sample.pipeline] += sample.count
    uncounted.subtract(_sums((lane, lane.due + lane.later) for lane in lanes))
    sharers = _sums((lane, 1) for lane in lanes if lane.is_beyond_limit)
    return [
        _with_more(lane, max(uncounted[_key(lane)], 0) // sharers[_key(lane)])
        if lane.is_beyond_limit
        else lane
        for lane in lanes
    ]


def _key(lane: Lane) -> tuple[str, str]:
    return lane.queue, lane.pipeline


def _sums(counts: Iterable[tuple[Lane, int]]) -> Counter[tuple[str, str]]:
    """Add up the counts of the lanes of each queue and pipeline."""
    sums: Counter[tuple[str, str]] = Counter()
    for lane, count in counts:
        sums[_key(lane)] += count
    return sums


def _with_more(lane: Lane, jobs: int) -> Lane:
    """Return the lane with so many more *jobs*, which are due if its count of due jobs was cut."""
    if lane.due >= lane.limit:
        return replace(lane, due=lane.due + jobs)
    return replace(lane, later=lane.later + jobs)


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
