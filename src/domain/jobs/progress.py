"""The progress of a job: the weighted sum of its steps, which never falls within an attempt. Pure."""

from collections.abc import Mapping
from typing import Final

from headrace.domain.events.types import Progress

MAX_FRACTION: Final = 0.999
"""The highest fraction of a job that has not succeeded: only success is 1.0."""

MAX_SHOWN_ITEMS: Final = 100


class JobProgress:
    """The progress of one attempt. Step runs have the keys of progress frames: `prepare`, `render[1]`.

    *steps* is what a frame shows: each item of a `for_each` step, or one entry under the step's name, counted
    in items, where there are more than `MAX_SHOWN_ITEMS`.
    """

    def __init__(self, weights: Mapping[str, float], floor: float = 0.0) -> None:
        """*weights* by step name; *floor* is the fraction that earlier attempts have shown."""
        self._weights = weights
        self._total = sum(weights.values()) or 1.0
        self._item_counts: dict[str, int] = {}
        self._fractions: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._finished: dict[str, set[str]] = {}
        self._done = dict.fromkeys(weights, 0.0)
        self._highest = min(floor, MAX_FRACTION)
        self.steps: dict[str, Progress] = {}

    def expand(self, name: str, items: int) -> None:
        """Set the number of items of the `for_each` step *name*; a step without items is done."""
        self._item_counts[name] = items
        self._weigh(name)
        if items > MAX_SHOWN_ITEMS:
            self.steps[name] = Progress(done=0, total=items)

    def shown_key(self, name: str, key: str) -> str:
        """Return the key under which *steps* shows the step run."""
        return name if self._item_counts.get(name, 0) > MAX_SHOWN_ITEMS else key

    def report(self, name: str, key: str, progress: Progress) -> None:
        """Store the progress that a step run reports of itself."""
        done = progress.done / progress.total if progress.total > 0 else 0.0
        self._raise(name, key, min(max(done, 0.0), 1.0))
        if self.shown_key(name, key) == key:
            self.steps[key] = progress
        else:
            self._show_sum(name, progress.message)

    def finish(self, name: str, key: str) -> None:
        """Count the step run as done, even if it last reported less."""
        self._raise(name, key, 1.0)
        self._finished.setdefault(name, set()).add(key)
        if self.shown_key(name, key) != key:
            self._show_sum(name, self.steps[name].message)
            return
        last = self.steps.get(key)
        if last is not None:
            self.steps[key] = Progress(done=last.total, total=last.total, message=last.message)
        else:
            self.steps[key] = Progress(done=1, total=1)

    def remaining_items(self, name: str) -> float | None:
        """Return the unfinished items of a step, with fractions; None: their number is not known yet."""
        if name not in self._item_counts and name not in self._sums:
            return None
        items = self._item_counts.get(name, 1)
        if len(self._finished.get(name, ())) >= items:
            return 0.0
        return max(0.0, items - self._sums.get(name, 0.0))

    @property
    def fraction(self) -> float:
        """From 0 to `MAX_FRACTION`."""
        self._highest = max(self._highest, min(sum(self._done.values()) / self._total, MAX_FRACTION))
        return self._highest

    def _show_sum(self, name: str, message: str | None) -> None:
        items = self._item_counts[name]
        is_done = len(self._finished.get(name, ())) >= items
        done = items if is_done else min(round(self._sums.get(name, 0.0), 2), items)
        self.steps[name] = Progress(done=done, total=items, message=message)

    def _raise(self, name: str, key: str, fraction: float) -> None:
        previous = self._fractions.get(key, 0.0)
        if fraction > previous:
            self._fractions[key] = fraction
            self._sums[name] = self._sums.get(name, 0.0) + fraction - previous
            self._weigh(name)

    def _weigh(self, name: str) -> None:
        """Compute which part of its weight the step has done; a step without items is done."""
        items = self._item_counts.get(name, 1)
        self._done[name] = self._weights[name] * (self._sums.get(name, 0.0) / items if items else 1.0)
