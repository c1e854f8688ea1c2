"""Random graphs with failures, delays and lost workers: each reaches the same end."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.jobs.states import JobState, StepState
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.outcome import unfinished_steps
from headrace.workers.attempt.plan import Plan, StepPlan
from headrace.workers.values import job_error
from support.worker_builders import StoredSteps, keys, new_claim, new_pipeline, start_all

ERROR: Final = job_error("step_failed", "it failed")
NEVER: Final = 1e9


class Job(NamedTuple):
    """*graph*: the predecessors of each step; *items*: the number of items of each `for_each` step."""

    graph: dict[str, list[str]]
    items: dict[str, int]

    def keys_of(self, name: str) -> list[str]:
        if name not in self.items:
            return [name]
        return [f"{name}[{index}]" for index in range(self.items[name])]

    def all_keys(self) -> list[str]:
        return [key for name in self.graph for key in self.keys_of(name)]


def job_of(steps: bytes) -> Job:
    """Decode one step per byte: five bits select its predecessors, three bits its number of items."""
    names = [f"s{place}" for place in range(len(steps))]
    graph = {
        name: [names[place] for place in range(min(number, 5)) if byte >> place & 1]
        for number, (name, byte) in enumerate(zip(names, steps, strict=True))
    }
    items = {name: byte >> 5 for name, byte in zip(names, steps, strict=True) if byte >> 5 < 4}
    return Job(graph, items)


JOBS: Final = st.binary(min_size=2, max_size=6).map(job_of)
# One action per byte: the byte selects one of the possible actions.
ACTS: Final = st.binary(min_size=40, max_size=40)
MOMENTS: Final = st.integers(0, 40)


class Walk:
    """A job that random actions drive through several attempts. Each action checks its result."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.pipeline = new_pipeline(job.graph, for_each=job.items)
        self.rows = StoredSteps()
        self.records = ChangeBuilder(new_claim())
        self.now = 0.0
        self.running: list[StepPlan] = []
        self.ended: list[str] = []
        self.failures: dict[str, int] = {}
        self.expanded: set[str] = set()
        self.not_before: dict[str, float] = {}
        self.plan = self.restored()

    def restored(self) -> Plan:
        return Plan(self.pipeline, self.rows.records(self.now), self.now)

    def is_done(self, name: str) -> bool:
        return set(self.job.keys_of(name)) <= set(self.ended) and (
            name not in self.job.items or name in self.expanded
        )

    def act(self, byte: int) -> None:
        seconds = byte >> 4
        acts: list[Callable[[], None]] = [partial(self.succeed, run) for run in self.running]
        if self.plan.to_expand:
            acts.append(self.expand)
        acts.append(self.start)
        acts += [partial(self.fail, run, seconds) for run in self.running]
        acts += [partial(self.wait, seconds), self.lose_worker, self.hand_back]
        acts[byte % len(acts)]()

    def start(self) -> None:
        run = self.plan.start_next(self.now)
        if run is None:
            return
        assert all(self.is_done(name) for name in self.job.graph[run.node.name])
        assert run.key not in self.ended
        assert run not in self.running
        assert self.not_before.get(run.key, 0.0) <= self.now
        assert run.tries == self.failures.get(run.key, 0)
        self.running.append(run)
        self.rows.write(self.records.started(run), self.now)

    def expand(self) -> None:
        group = self.plan.to_expand.popleft()
        name = group.node.name
        assert name not in self.expanded
        assert all(self.is_done(earlier) for earlier in self.job.graph[name])
        self.expanded.add(name)
        items = [str(number) for number in range(self.job.items[name])]
        self.rows.write(self.records.items(name, items), self.now)
        self.plan.expand(group, items)

    def succeed(self, run: StepPlan) -> None:
        left = [name for name in self.job.graph if not self.is_done(name)]
        others = set(self.job.keys_of(run.node.name)) - set(self.ended) - {run.key}
        assert self.plan.is_last(run) == (left == [run.node.name] and not others)
        run.output = f'"{run.key}"'
        self.rows.write(self.records.succeeded(run, 1), self.now)
        self.plan.succeed(run)
        self.running.remove(run)
        self.ended.append(run.key)

    def fail(self, run: StepPlan, wait: int) -> None:
        run.tries += 1
        self.failures[run.key] = run.tries
        self.not_before[run.key] = self.now + wait
        self.rows.write(self.records.failed(run, ERROR, timedelta(seconds=wait)), self.now)
        self.plan.retry_at(run, self.now + wait)
        self.running.remove(run)

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def lose_worker(self) -> None:
        self.running.clear()
        self.plan = self.restored()

    def hand_back(self) -> None:
        change = self.records.empty()
        for run, state in unfinished_steps(self.plan, JobState.QUEUED):
            change.steps[run.key] = self.records.row(run, state)
        self.rows.write(change, self.now)
        self.lose_worker()

    def run_to_the_end(self) -> None:
        for _ in range(100):
            if self.plan.is_done:
                return
            if self.plan.to_expand:
                self.expand()
            self.start()
            if self.running:
                self.succeed(self.running[-1])
            elif (ready_at := self.plan.next_ready_at()) is not None:
                self.now = max(self.now, ready_at)
        raise AssertionError("the plan does not end")


def walked(job: Job, acts: bytes) -> Walk:
    walk = Walk(job)
    for byte in acts:
        walk.act(byte)
    return walk


def outputs(plan: Plan) -> Iterator[tuple[str, Any]]:
    for name, group in plan.groups.items():
        yield name, msgspec.json.decode(plan.output_of(group))


def step_states(plan: Plan, *, interrupted: bool) -> list[tuple[str, StepState, int, str | None]]:
    """Return the state of each step run of a plan; *interrupted*: with running step runs as pending."""
    stopped = {StepState.RUNNING: StepState.PENDING} if interrupted else {}
    return [(run.key, stopped.get(run.state, run.state), run.tries, run.output) for run in plan.runs()]


@settings(max_examples=100)
@given(JOBS, ACTS)
def test_every_step_run_succeeds_exactly_once_despite_failures_and_lost_workers(
    job: Job, acts: bytes
) -> None:
    walk = walked(job, acts)

    walk.run_to_the_end()

    assert sorted(walk.ended) == sorted(job.all_keys())
    assert {run.state for run in walk.plan.runs()} <= {StepState.SUCCEEDED}
    assert dict(outputs(walk.plan)) == {
        name: job.keys_of(name) if name in job.items else name for name in job.graph
    }


@settings(max_examples=100)
@given(JOBS, ACTS, MOMENTS)
def test_a_restored_plan_has_the_state_of_the_previous_plan(job: Job, acts: bytes, moment: int) -> None:
    walk = walked(job, acts[:moment])
    running = keys(walk.running)

    restored = walk.restored()

    assert restored.is_done == walk.plan.is_done
    assert step_states(restored, interrupted=False) == step_states(walk.plan, interrupted=True)
    assert {group.node.name for group in restored.to_expand} == {
        group.node.name for group in walk.plan.to_expand
    }
    if not running:
        assert restored.next_ready_at() == walk.plan.next_ready_at()
    assert sorted(keys(start_all(restored, walk.now))) == sorted(
        [*running, *keys(start_all(walk.plan, walk.now))]
    )
    assert sorted(keys(start_all(restored, NEVER))) == sorted(keys(start_all(walk.plan, NEVER)))
