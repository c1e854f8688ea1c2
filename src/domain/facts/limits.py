"""Bounds the number of series: pipelines and queues beyond a limit are counted together as `other`. Pure."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Final, TypeVar

from msgspec.structs import replace

from headrace.domain.facts.bounded_names import OTHER, BoundedNames
from headrace.domain.facts.models import DatabaseFacts

MAX_PIPELINES: Final = 500
# Callers choose the queue of a job, so its name may come from outside.
MAX_QUEUES: Final = 100

Key = TypeVar("Key", bound=Hashable)


class FactsLimit:
    """Limits the names in facts, and lets those that have a series keep it from one call to the next."""

    def __init__(self, *, pipelines: int = MAX_PIPELINES, queues: int = MAX_QUEUES) -> None:
        self._pipelines = BoundedNames(pipelines)
        self._queues = BoundedNames(queues)

    def apply(self, facts: DatabaseFacts) -> DatabaseFacts:
        self._pipelines.update(sorted({pipeline for _, pipeline in facts.jobs}))
        served = {queue for queue, workers in facts.workers.items() if workers}
        self._queues.update([*sorted(served), *sorted(facts.workers.keys() - served)])
        queue, pipeline = self._queues.admit, self._pipelines.admit
        oldest: dict[str, float] = {}
        for name, seconds in facts.oldest_due_seconds.items():
            oldest[queue(name)] = max(seconds, oldest.get(queue(name), 0.0))
        return replace(
            facts,
            jobs=_sums(((state, pipeline(name)), count) for (state, name), count in facts.jobs.items()),
            unserved=_sums(
                ((name, version) if pipeline(name) == name else (OTHER, OTHER), count)
                for (name, version), count in facts.unserved.items()
            ),
            due=_queue_sums(facts.due, self._queues),
            workers=_queue_sums(facts.workers, self._queues),
            oldest_due_seconds=oldest,
        )


def _queue_sums(counts: Mapping[str, int], names: BoundedNames) -> dict[str, int]:
    return _sums((names.admit(name), count) for name, count in counts.items())


def _sums(counts: Iterable[tuple[Key, int]]) -> dict[Key, int]:
    total: Counter[Key] = Counter()
    for key, count in counts:
        total[key] += count
    return dict(total)
