"""How far a job is: the weighted sum of its steps, which never falls within an attempt. Pure."""

from collections.abc import Mapping
from typing import Final

from headrace.domain.events.types import Progress

# 1.0 belongs to the job that succeeded.
MAX_FRACTION: Final = 0.999
MAX_SHOWN_ITEMS: Final = 100


class JobProgress:
    """The progress of one attempt. Steps are keyed as in frames: `prepare`, `render[1]`.

    *steps* is what a frame shows: the items of a `for_each` step one by one; where there are more than 100,
    one entry under the step's name, in items.
    """

    def __init__(self, weights: Mapping[str, float], floor: float = 0.0) -> None:
        """*weights* by step name; *floor* is what an earlier attempt was shown to have reached."""
        self._weights = weights
        self._total = sum(weights.values()) or 1.0
        self._items: dict[str, int] = {}
        self._known: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._finished: dict[str, set[str]] = {}
        self._highest = min(floor, MAX_FRACTION)
        self.steps: dict[str, Progress] = {}

    def expand(self, name: str, items: int) -> None:
        """Say that the `for_each` step *name* has so many items; none means that it is done."""
        self._items[name] = items
        if items > MAX_SHOWN_ITEMS:
            self.steps[name] = Progress(done=0, total=items)

    def entry(self, name: str, key: str) -> str:
        """Under which key *steps* shows that step run."""
        return name if self._items.get(name, 0) > MAX_SHOWN_ITEMS else key

    def report(self, name: str, key: str, progress: Progress) -> None:
        """Take what a step run says of itself."""
        done = progress.done / progress.total if progress.total > 0 else 0.0
        self._raise(name, key, min(max(done, 0.0), 1.0))
        if self.entry(name, key) == key:
            self.steps[key] = progress
        else:
            self._show_sum(name, progress.message)

    def finish(self, name: str, key: str) -> None:
        """Count the step run as whole, whatever it last said."""
        self._raise(name, key, 1.0)
        self._finished.setdefault(name, set()).add(key)
        if self.entry(name, key) != key:
            self._show_sum(name, self.steps[name].message)
            return
        last = self.steps.get(key)
        if last is not None:
            self.steps[key] = Progress(done=last.total, total=last.total, message=last.message)
        else:
            self.steps[key] = Progress(done=1, total=1)

    def remaining_items(self, name: str) -> float | None:
        """The items of a step that are not done, parts included; None: nothing is known of it yet."""
        if name not in self._items and name not in self._sums:
            return None
        items = self._items.get(name, 1)
        if len(self._finished.get(name, ())) >= items:
            return 0.0
        return max(0.0, items - self._sums.get(name, 0.0))

    @property
    def fraction(self) -> float:
        """From 0 to just below 1."""
        done = sum(weight * self._share(name) for name, weight in self._weights.items())
        self._highest = max(self._highest, min(done / self._total, MAX_FRACTION))
        return self._highest

    def _show_sum(self, name: str, message: str | None) -> None:
        items = self._items[name]
        is_done = len(self._finished.get(name, ())) >= items
        done = items if is_done else min(round(self._sums.get(name, 0.0), 2), items)
        self.steps[name] = Progress(done=done, total=items, message=message)

    def _raise(self, name: str, key: str, fraction: float) -> None:
        known = self._known.get(key, 0.0)
        if fraction > known:
            self._known[key] = fraction
            self._sums[name] = self._sums.get(name, 0.0) + fraction - known

    def _share(self, name: str) -> float:
        items = self._items.get(name, 1)
        return self._sums.get(name, 0.0) / items if items else 1.0
