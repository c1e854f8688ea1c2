"""Pipelines, claims and stored step runs for unit tests of the worker's core, which needs no server."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.events.news import JobNews
from headrace.domain.jobs.attempts.changes import Change, StepChange
from headrace.domain.jobs.attempts.claims import Claim, StepRecord
from headrace.domain.jobs.attempts.stored_items import split_items
from headrace.domain.jobs.states import StepState
from headrace.domain.json_decoding import build_decoder
from headrace.domain.pipelines.definition import Node, Pipeline, RunsIn, Step, StepHandle, step
from headrace.workers.attempt.plan import Plan, StepPlan

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Params(Struct):
    items: list[Any] = []


class Clock:
    """Replaces the module `time` in a module that reads the monotonic time."""

    def __init__(self, at: float) -> None:
        self.at = at

    def monotonic(self) -> float:
        return self.at


async def _plain(context: Any) -> Any: ...


async def _each(context: Any, item: Any) -> Any: ...


def _blocking(context: Any) -> Any: ...


def _blocking_each(context: Any, item: Any) -> Any: ...


def items_of(params: Params) -> list[Any]:
    return params.items


def new_step(
    runs_in: RunsIn = "loop", *, takes_item: bool = False, retries: int = 3, timeout: timedelta | None = None
) -> Step[..., Any]:
    if runs_in == "loop":
        function: Callable[..., Any] = _each if takes_item else _plain
    else:
        function = _blocking_each if takes_item else _blocking
    return step(runs_in=runs_in, retries=retries, timeout=timeout or timedelta(hours=1))(function)


def new_pipeline(
    graph: Mapping[str, Sequence[str]],
    *,
    for_each: Collection[str] = (),
    result: str | None = None,
    runs_in: RunsIn = "loop",
) -> Pipeline:
    """Return a pipeline of the steps in *graph*, which maps each name to the names of earlier steps."""
    pipeline = Pipeline("example", params=Params)
    handles: dict[str, StepHandle] = {}
    for name, after in graph.items():
        handles[name] = pipeline.add(
            new_step(runs_in, takes_item=name in for_each),
            name=name,
            after=[handles[earlier] for earlier in after],
            for_each=items_of if name in for_each else None,
            result=name == result,
        )
    return pipeline


def new_node(
    name: str = "work",
    *,
    retries: int = 3,
    timeout: timedelta | None = None,
    for_each: Callable[[Any], Iterable[Any]] | None = None,
) -> Node:
    pipeline = Pipeline("example", params=Params)
    plain_step = new_step(takes_item=for_each is not None, retries=retries, timeout=timeout)
    pipeline.add(plain_step, name=name, for_each=for_each)
    return pipeline.nodes[name]


def returning(shape: Any) -> Node:
    """Return the node of a step whose output is annotated as *shape*."""
    return dataclasses.replace(new_node(), output_type=shape, decode_output=build_decoder(shape))


def new_run(node: Node, index: int | None = None, *, tries: int = 0, output: str | None = None) -> StepPlan:
    key = node.name if index is None else f"{node.name}[{index}]"
    return StepPlan(node=node, key=key, index=index, tries=tries, output=output)


def new_claim(**changes: Any) -> Claim:
    """Return the claim of a job's third attempt, at noon by PostgreSQL's clock."""
    claim = Claim(
        job_id=UUID(int=1),
        owner_id=UUID(int=2),
        pipeline="example",
        version=1,
        queue="default",
        params="{}",
        attempt=3,
        fence=7,
        max_attempts=None,
        losses=0,
        needs_process=False,
        progress=0.0,
        head=2,
        log_events=0,
        cancel_requested=False,
        seconds_left=None,
        steps={},
        at=NOON,
        received_at=0.0,
        news=JobNews(
            job_id=UUID(int=1),
            owner_id=UUID(int=2),
            pipeline="example",
            state="running",
            head=2,
            progress=0.0,
            at=NOON,
            events=[EncodedEvent("job.started", "{}")],
        ),
    )
    return replace(claim, **changes)


def stored(*records: StepRecord) -> dict[str, StepRecord]:
    return {record.key: record for record in records}


def record(
    key: str,
    state: StepState = StepState.PENDING,
    *,
    tries: int = 0,
    items: str | None = None,
    output: str | None = None,
    retry_seconds: float | None = None,
) -> StepRecord:
    name, _, index = key.rstrip("]").partition("[")
    return StepRecord(
        key=key,
        name=name,
        index=int(index) if index else None,
        state=state,
        tries=tries,
        items=None if items is None else split_items(items),
        output=output,
        retry_seconds=retry_seconds,
    )


def succeeded(key: str, output: str | None = "1", *, items: str | None = None) -> StepRecord:
    return record(key, StepState.SUCCEEDED, output=output, items=items)


def start_next(plan: Plan, now: float = 0.0) -> StepPlan:
    """Start the next step run, which must exist."""
    run = plan.start_next(now)
    assert run is not None
    return run


def start_next_key(plan: Plan, now: float = 0.0) -> str | None:
    """Start the next step run if possible. Return its key."""
    run = plan.start_next(now)
    return None if run is None else run.key


def start_all(plan: Plan, now: float = 0.0) -> list[StepPlan]:
    """Start all step runs that can start."""
    started = []
    while (run := plan.start_next(now)) is not None:
        started.append(run)
    return started


def keys(runs: Iterable[StepPlan]) -> list[str]:
    return [run.key for run in runs]


def succeed(plan: Plan, run: StepPlan, output: str = "1") -> None:
    run.output = output
    plan.succeed(run)


class StoredSteps:
    """The `step_runs` rows of a job in memory: changes write them, and a claim reads them."""

    def __init__(self) -> None:
        self._rows: dict[str, StepChange] = {}
        self._retry_at: dict[str, float] = {}

    def write(self, change: Change, now: float) -> None:
        """Store the rows of *change*; a step run that succeeded stays as it is."""
        for key, row in change.steps.items():
            before = self._rows.get(key, row)
            if before is not row and before.state is StepState.SUCCEEDED:
                continue
            self._rows[key] = replace(
                row,
                items=before.items if row.items is None else row.items,
                output=before.output if row.output is None else row.output,
            )
            self._retry_at.pop(key, None)
            if row.retry_seconds is not None:
                self._retry_at[key] = now + row.retry_seconds

    def records(self, now: float) -> dict[str, StepRecord]:
        return {
            key: record(
                key,
                row.state,
                tries=row.tries,
                items=row.items,
                output=row.output,
                retry_seconds=self._retry_at[key] - now if key in self._retry_at else None,
            )
            for key, row in self._rows.items()
        }
