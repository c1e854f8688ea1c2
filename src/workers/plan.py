"""Which step runs of a job can start now, which wait, and whether all is done. Pure."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from domain.jobs.execution import StepRecord
from domain.jobs.states import StepState
from domain.pipelines.definition import Node, Pipeline
from workers.outputs import OutputError

MOST_ITEMS: Final = 10_000


class StepPlan(Struct, kw_only=True):
    """One step run.

    *ready_at* is a moment of the caller's monotonic clock, for a try that has to wait; *entered* says that
    the try has its slot.
    """

    node: Node
    key: str
    index: int | None = None
    item: str | None = None
    state: StepState = StepState.PENDING
    tries: int = 0
    output: str | None = None
    ready_at: float = 0.0
    entered: bool = False


class Group(Struct, kw_only=True):
    """A step with all its runs: one, or one an item. None: its items are not computed yet."""

    node: Node
    runs: list[StepPlan] | None = None

    @property
    def is_done(self) -> bool:
        return self.runs is not None and all(run.state is StepState.SUCCEEDED for run in self.runs)


class Plan(Struct):
    """The graph of one job and how far it is."""

    groups: dict[str, Group] = field(default_factory=dict)

    @classmethod
    def resume(cls, pipeline: Pipeline, records: dict[str, StepRecord], now: float) -> "Plan":
        """Build the plan of an attempt on what earlier ones have stored."""
        plan = cls()
        for node in pipeline.nodes.values():
            group = plan.groups[node.name] = Group(node=node)
            if node.for_each is None:
                group.runs = [StepPlan(node=node, key=node.name)]
            elif (record := records.get(node.name)) is not None and record.items is not None:
                group.runs = item_runs(node, record.items)
            for run in group.runs or ():
                if (record := records.get(run.key)) is not None:
                    _restore(run, record, now)
        return plan

    @property
    def is_done(self) -> bool:
        return all(group.is_done for group in self.groups.values())

    def is_done_with(self, last: StepPlan) -> bool:
        """Whether all is done once *last* is."""
        return all(
            group.runs is not None
            and all(run is last or run.state is StepState.SUCCEEDED for run in group.runs)
            for group in self.groups.values()
        )

    def to_expand(self) -> Iterator[Group]:
        """The `for_each` steps whose items can be computed now."""
        for group in self.groups.values():
            if group.runs is None and self._is_ready(group.node):
                yield group

    def startable(self, now: float) -> Iterator[StepPlan]:
        """The step runs that can start now, in the order of the graph."""
        yield from (run for run in self._pending() if run.ready_at <= now)

    def next_ready_at(self) -> float | None:
        """When the first of the waiting step runs may start; None when none waits."""
        return min((run.ready_at for run in self._pending()), default=None)

    def runs(self) -> Iterator[StepPlan]:
        for group in self.groups.values():
            yield from group.runs or ()

    def output_of(self, group: Group) -> str:
        """The output of a step that is done; of a `for_each` step the list in item order."""
        outputs = [run.output or "null" for run in group.runs or ()]
        return f"[{','.join(outputs)}]" if group.node.for_each else outputs[0]

    def _pending(self) -> Iterator[StepPlan]:
        for group in self.groups.values():
            if group.runs is not None and self._is_ready(group.node):
                yield from (run for run in group.runs if run.state is StepState.PENDING)

    def _is_ready(self, node: Node) -> bool:
        return all(self.groups[name].is_done for name in node.after)


def item_runs(node: Node, items: str) -> list[StepPlan]:
    """One run for each of *items*, a JSON array."""
    parts: list[msgspec.Raw] = msgspec.json.decode(items, type=list[msgspec.Raw])
    return [
        StepPlan(node=node, key=f"{node.name}[{index}]", index=index, item=bytes(part).decode())
        for index, part in enumerate(parts)
    ]


def compute_items(node: Node, params: Any) -> list[Any]:
    """Ask the author's function for the items; what it raises is the author's.

    Raises:
        OutputError: there are more items than a job may have.
    """
    items = [] if node.for_each is None else list(islice(node.for_each(params), MOST_ITEMS + 1))
    if len(items) > MOST_ITEMS:
        raise OutputError("items_invalid", f"step {node.name!r} has more than {MOST_ITEMS} items")
    return items


def _restore(run: StepPlan, record: StepRecord, now: float) -> None:
    run.tries = record.tries
    if record.state is StepState.SUCCEEDED:
        run.state = StepState.SUCCEEDED
        run.output = record.output if record.output is not None else "null"
    elif record.retry_seconds is not None:
        run.ready_at = now + record.retry_seconds
