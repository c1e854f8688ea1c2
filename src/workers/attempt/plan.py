"""Which step runs of a job can start now, which wait, and whether all is done. Pure."""

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.domain.jobs.attempts.claims import StepRecord
from headrace.domain.jobs.states import StepState
from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.workers.attempt.values import OutputError

MOST_ITEMS: Final = 10_000


class StepPlan(Struct, kw_only=True):
    """One step run. *entered* says that the try has its slot."""

    node: Node
    key: str
    index: int | None = None
    item: str | None = None
    state: StepState = StepState.PENDING
    tries: int = 0
    output: str | None = None
    entered: bool = False


class Group(Struct):
    """A step with all its runs: one, or one an item. *runs* None: its items are not computed yet.

    *waits_for* counts the steps before it that are not done, *left* its own runs that are not.
    """

    node: Node
    waits_for: int
    runs: list[StepPlan] | None = None
    left: int = 0


class Plan:
    """The graph of one job and how far it is. Moments are those of the caller's monotonic clock."""

    def __init__(self, pipeline: Pipeline, records: dict[str, StepRecord], now: float) -> None:
        """Build on what earlier attempts have stored."""
        self._followers = pipeline.followers
        self._ready: deque[StepPlan] = deque()
        self._later: list[tuple[float, int, StepPlan]] = []
        self._numbers = count()
        self._left = len(pipeline.nodes)
        self.groups: dict[str, Group] = {}
        self.to_expand: deque[Group] = deque()
        """The `for_each` steps whose turn has come and whose items are not computed yet."""
        done = set()
        for node in pipeline.nodes.values():
            waits_for = sum(name not in done for name in node.after)
            group = self.groups[node.name] = Group(node, waits_for)
            record = records.get(node.name)
            if node.for_each is None:
                group.runs = [StepPlan(node=node, key=node.name)]
            elif record is not None and record.items is not None:
                group.runs = item_runs(node, record.items)
            waits = self._restore(group, records, now) if records else {}
            group.left = sum(run.state is not StepState.SUCCEEDED for run in group.runs or ())
            if group.runs is not None and not group.left:
                done.add(node.name)
                self._left -= 1
            elif not waits_for:
                self._open(group, waits)

    @property
    def is_done(self) -> bool:
        return not self._left

    def take(self, now: float) -> StepPlan | None:
        """The next step run that can start, in the order of the graph; it is running from now on."""
        if self._ready:
            run = self._ready.popleft()
        elif self._later and self._later[0][0] <= now:
            run = heapq.heappop(self._later)[2]
        else:
            return None
        run.state = StepState.RUNNING
        return run

    def take_lone(self) -> StepPlan | None:
        """The next step run, if it is one of the loop and nothing could start beside it before it ends."""
        if len(self._ready) != 1 or self._later or self._ready[0].node.step.runs_in != "loop":
            return None
        return self.take(0.0)

    def next_ready_at(self) -> float | None:
        """When the first of the waiting step runs may start; None when none waits."""
        if self._ready:
            return 0.0
        return self._later[0][0] if self._later else None

    def put_off(self, run: StepPlan, ready_at: float) -> None:
        """Have *run* tried again, not before *ready_at*."""
        run.state = StepState.PENDING
        heapq.heappush(self._later, (ready_at, next(self._numbers), run))

    def expand(self, group: Group, items: str) -> None:
        """Give a `for_each` step its *items*, a JSON array; none means that it is done."""
        group.runs = item_runs(group.node, items)
        group.left = len(group.runs)
        if group.left:
            self._open(group, {})
        else:
            self._close(group)

    def is_last(self, run: StepPlan) -> bool:
        """Whether nothing is left but *run*."""
        return self._left == 1 and self.groups[run.node.name].left == 1

    def succeed(self, run: StepPlan) -> None:
        """Count *run* as done, which may open the steps after it."""
        run.state = StepState.SUCCEEDED
        group = self.groups[run.node.name]
        group.left -= 1
        if not group.left:
            self._close(group)

    def runs(self) -> Iterator[StepPlan]:
        for group in self.groups.values():
            yield from group.runs or ()

    def output_of(self, group: Group) -> str:
        """The output of a step that is done; of a `for_each` step the list in item order."""
        outputs = [run.output or "null" for run in group.runs or ()]
        return f"[{','.join(outputs)}]" if group.node.for_each else outputs[0]

    def _open(self, group: Group, waits: dict[str, float]) -> None:
        """Its turn has come. *waits*: what has to wait for its next try, by key."""
        if group.runs is None:
            self.to_expand.append(group)
            return
        for run in group.runs:
            if run.state is StepState.PENDING:
                if run.key in waits:
                    self.put_off(run, waits[run.key])
                else:
                    self._ready.append(run)

    def _close(self, group: Group) -> None:
        self._left -= 1
        for name in self._followers[group.node.name]:
            follower = self.groups[name]
            follower.waits_for -= 1
            if not follower.waits_for:
                self._open(follower, {})

    def _restore(self, group: Group, records: dict[str, StepRecord], now: float) -> dict[str, float]:
        """Take over the states of stored runs; returns when those that wait may start, by key."""
        waits = {}
        for run in group.runs or ():
            record = records.get(run.key)
            if record is None:
                continue
            run.tries = record.tries
            if record.state is StepState.SUCCEEDED:
                run.state = StepState.SUCCEEDED
                run.output = record.output if record.output is not None else "null"
            elif record.retry_seconds is not None:
                waits[run.key] = now + record.retry_seconds
        return waits


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
