"""Plans the step runs of a job: which can start now, which wait, and whether all are done. Pure."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count

from msgspec import Struct

from headrace.domain.events.types import JobError
from headrace.domain.jobs.attempts.claims import StepRecord
from headrace.domain.jobs.states import StepState
from headrace.domain.pipelines.definition import Node, Pipeline
from headrace.workers.values import job_error


class StepPlan(Struct, kw_only=True):
    """One step run. *has_slot*: its current try has a slot and is being executed, since *entered_at*.

    *waits_since*: since when its try waits for a process slot; None: it does not wait.
    """

    node: Node
    key: str
    index: int | None = None
    item: str | None = None
    state: StepState = StepState.PENDING
    tries: int = 0
    output: str | None = None
    has_slot: bool = False
    entered_at: float = 0.0
    waits_since: float | None = None


class Group(Struct):
    """A step with all its runs: a single one, or one per item. *runs* None: the items are not computed yet.

    *blockers* counts the steps before it that are not done, *left* its own runs that are not done.
    """

    node: Node
    blockers: int
    runs: list[StepPlan] | None = None
    left: int = 0


class Plan:
    """The step graph of one job and its progress through it. Times are of the caller's monotonic clock."""

    def __init__(self, pipeline: Pipeline, records: dict[str, StepRecord], now: float) -> None:
        """Continue from *records*, the stored step runs of earlier attempts, by key."""
        self._followers = pipeline.followers
        self._ready: deque[StepPlan] = deque()
        self._delayed: list[tuple[float, int, StepPlan]] = []
        self._numbers = count()
        self._left = len(pipeline.nodes)
        self.groups: dict[str, Group] = {}
        self.refusal: tuple[StepPlan, JobError] | None = None
        """A step run that must not be entered, and why the job fails with it."""
        self.to_expand: deque[Group] = deque()
        """The unblocked `for_each` steps whose items are not computed yet."""
        done = set()
        for node in pipeline.nodes.values():
            blockers = sum(name not in done for name in node.after)
            group = self.groups[node.name] = Group(node, blockers)
            record = records.get(node.name)
            if record is not None and record.state is StepState.SUCCEEDED:
                self._refuse_changed(node, record)
            if node.for_each is None:
                group.runs = [StepPlan(node=node, key=node.name)]
            elif record is not None and record.items is not None:
                group.runs = item_runs(node, record.items)
            ready_times = self._restore(group, records, now) if records else {}
            group.left = sum(run.state is not StepState.SUCCEEDED for run in group.runs or ())
            if group.runs is not None and not group.left:
                done.add(node.name)
                self._left -= 1
            elif not blockers:
                self._unblock(group, ready_times)

    @property
    def is_done(self) -> bool:
        return not self._left

    def start_next(self, now: float) -> StepPlan | None:
        """Return the next step run that can start, in graph order, and mark it as running."""
        if self._ready:
            run = self._ready.popleft()
        elif self._delayed and self._delayed[0][0] <= now:
            run = heapq.heappop(self._delayed)[2]
        else:
            return None
        run.state = StepState.RUNNING
        return run

    def start_lone(self) -> StepPlan | None:
        """Like `start_next`, but only for a coroutine step beside which no other run could start."""
        if len(self._ready) != 1 or self._delayed or self._ready[0].node.step.runs_in != "loop":
            return None
        return self.start_next(0.0)

    def next_ready_at(self) -> float | None:
        """Return when the next step run may start; None when none waits."""
        if self._ready:
            return 0.0
        return self._delayed[0][0] if self._delayed else None

    def needs_process(self, now: float) -> bool:
        """Return whether all steps that can start at *now*, or have started, need a process."""
        runs = [*self._ready, *(run for ready_at, _, run in self._delayed if ready_at <= now)]
        runs += [run for run in self.runs() if run.state is StepState.RUNNING]
        nodes = [run.node for run in runs] + [group.node for group in self.to_expand]
        return bool(nodes) and all(node.step.runs_in == "process" for node in nodes)

    def retry_at(self, run: StepPlan, ready_at: float) -> None:
        """Schedule another try of *run*, not before *ready_at*."""
        run.state = StepState.PENDING
        heapq.heappush(self._delayed, (ready_at, next(self._numbers), run))

    def expand(self, group: Group, items: Sequence[str]) -> None:
        """Create a run of a `for_each` step for each of *items*, as JSON. Without items the step is done."""
        group.runs = item_runs(group.node, items)
        group.left = len(group.runs)
        if group.left:
            self._unblock(group, {})
        else:
            self._complete(group)

    def is_last(self, run: StepPlan) -> bool:
        """Return whether *run* is the only one that is not done."""
        return self._left == 1 and self.groups[run.node.name].left == 1

    def succeed(self, run: StepPlan) -> None:
        """Mark *run* as succeeded, and unblock the steps after it when it was the last of its step."""
        run.state = StepState.SUCCEEDED
        group = self.groups[run.node.name]
        group.left -= 1
        if not group.left:
            self._complete(group)

    def runs(self) -> Iterator[StepPlan]:
        for group in self.groups.values():
            yield from group.runs or ()

    def output_of(self, group: Group) -> str:
        """Return the output of a step that is done, as JSON; for a `for_each` step, a list in item order."""
        outputs = [run.output or "null" for run in group.runs or ()]
        return f"[{','.join(outputs)}]" if group.node.for_each else outputs[0]

    def output_chars(self, group: Group) -> int:
        """Return the characters of the outputs of a step that is done."""
        return sum(len(run.output) for run in group.runs or () if run.output is not None)

    def _unblock(self, group: Group, ready_times: dict[str, float]) -> None:
        """Queue the runs of *group*. *ready_times*: when delayed runs may start, by key."""
        if group.runs is None:
            self.to_expand.append(group)
            return
        for run in group.runs:
            if run.state is StepState.PENDING:
                if run.key in ready_times:
                    self.retry_at(run, ready_times[run.key])
                else:
                    self._ready.append(run)

    def _complete(self, group: Group) -> None:
        self._left -= 1
        for name in self._followers[group.node.name]:
            follower = self.groups[name]
            follower.blockers -= 1
            if not follower.blockers:
                self._unblock(follower, {})

    def _refuse_changed(self, node: Node, record: StepRecord) -> None:
        """Refuse a job whose stored step is of another kind, which only local mode allows to change."""
        has_items = record.items is not None
        if has_items != (node.for_each is not None):
            was = "ran once per item" if has_items else "ran once"
            message = f"step {node.name!r} {was} when the job ran it, and was changed since; submit a new job"
            run = StepPlan(node=node, key=node.name)
            self.refusal = self.refusal or (run, job_error("step_changed", message, node.name))

    def _restore(self, group: Group, records: dict[str, StepRecord], now: float) -> dict[str, float]:
        """Take over the stored states of the runs; return when delayed runs may start, by key."""
        ready_times = {}
        for run in group.runs or ():
            record = records.get(run.key)
            if record is None:
                continue
            run.tries = record.tries
            if record.is_open and group.node.step.on_loss == "fail":
                message = (
                    f"an attempt that did not end step {run.key!r} had entered it; it must not run twice"
                )
                self.refusal = self.refusal or (run, job_error("step_lost", message, run.key))
            if record.state is StepState.SUCCEEDED:
                run.state = StepState.SUCCEEDED
                run.output = record.output if record.output is not None else "null"
            elif record.retry_seconds is not None:
                ready_times[run.key] = now + record.retry_seconds
        return ready_times


def item_runs(node: Node, items: Sequence[str]) -> list[StepPlan]:
    """Return one step run for each of *items*, as JSON."""
    return [
        StepPlan(node=node, key=f"{node.name}[{index}]", index=index, item=item)
        for index, item in enumerate(items)
    ]
