"""The step bars of a watched job, in graph order; many items of a `for_each` step share one bar. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

WAITING, RUNNING, SUCCEEDED, FAILED = "waiting", "running", "succeeded", "failed"
# The service sums the progress of more items in the same way.
_MAX_ITEMS: Final = 100


@dataclass(slots=True)
class StepLine:
    """One bar. *key* is `name` or, for one item of a `for_each` step, `name[index]`."""

    key: str
    state: str = WAITING
    fraction: float = 0.0
    message: str = ""
    took_ms: int | None = None


@dataclass(slots=True)
class StepLines:
    """The bars by step key, in the order of the graph and of the items."""

    lines: dict[str, StepLine] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)
    """The `for_each` steps that have one bar for all items."""

    def add(self, names: Iterable[str]) -> None:
        """Add waiting steps; those that are already there stay as they are."""
        for name in names:
            self.lines.setdefault(name, StepLine(name))

    def get(self, key: str) -> StepLine:
        """Return the bar of a step or item, added if needed; a detached one for an item of a summed step."""
        name, bracket, _ = key.partition("[")
        if bracket and name in self.summed:
            return StepLine(key)
        if key not in self.lines:
            self._insert(key)
        return self.lines.get(key) or StepLine(key)

    def has_items(self, name: str) -> bool:
        """Return whether a step has bars of its own for some items."""
        return any(key.startswith(f"{name}[") for key in self.lines)

    def sum(self, name: str) -> None:
        """Replace the bars of the items of a step by one bar."""
        self.summed.add(name)
        self._replace(name, [name])

    def reset_unfinished(self) -> None:
        """Set running and failed steps back to waiting."""
        for step in self.lines.values():
            if step.state in (RUNNING, FAILED):
                step.state, step.fraction = WAITING, 0.0

    def _insert(self, key: str) -> None:
        """Put the bar of an item where its `for_each` step stands, in the order of the items."""
        name, bracket, _ = key.partition("[")
        if not bracket:
            self.lines[key] = StepLine(key)
            return
        siblings = [other for other in self.lines if other.startswith(f"{name}[")]
        items = sorted({*siblings, key}, key=_index)
        if len(items) > _MAX_ITEMS:
            self.sum(name)
        else:
            self._replace(name, items)

    def _replace(self, name: str, keys: list[str]) -> None:
        """Replace all bars of a step by those of *keys*, in the same position."""
        current = list(self.lines)
        own = {key for key in current if key.partition("[")[0] == name}
        position = next((index for index, key in enumerate(current) if key in own), len(current))
        ordered = [*current[:position], *keys, *(key for key in current[position:] if key not in own)]
        self.lines = {key: self.lines.get(key) or StepLine(key) for key in ordered}


def step_key(name: str, index: int | None) -> str:
    return name if index is None else f"{name}[{index}]"


def _index(key: str) -> int:
    return int(key.partition("[")[2].rstrip("]"))
