"""A step that an outage stops costs no try: its job is handed back, unless the step must not run twice."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.adapters.store_errors import StoreError, StoreFullError
from headrace.domain.database import DatabaseBusyError
from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.jobs.progress import JobProgress
from headrace.domain.pipelines.definition import OnLoss, Pipeline, step
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.executors import StepStoppedError
from headrace.workers.attempt.graph_runner import GraphRunner
from headrace.workers.attempt.outcome import AttemptStatus, StopReason
from headrace.workers.attempt.plan import Plan, StepPlan
from headrace.workers.attempt.step_waits import StepWaits
from headrace.workers.crash_record import CrashRecord, Entry
from headrace.workers.outputs import OutputLimits, OutputSizes
from support.worker_builders import Params, new_claim

FULL = StoreFullError("No space left on device")


@step
async def _retried(context: Any) -> None: ...


@step(on_loss="fail")
async def _not_twice(context: Any) -> None: ...


class FakeHost:
    def __init__(self) -> None:
        self.outputs: dict[str, str] = {}
        self.waits = StepWaits()
        self.keys: list[str | None] = []

    async def write(self, _change: Change, key: str | None = None) -> WriteResult:
        self.keys.append(key)
        return WriteResult(verdict="applied")

    def write_later(self, _change: Change) -> None:
        """Nothing is stored."""


class FailingRunner:
    """Lets each step fail with *error*, before or after it was entered."""

    def __init__(self, entry: Any, error: Exception, *, is_entered: bool) -> None:
        self.entry = entry
        self._error = error
        self._is_entered = is_entered

    async def run(self, run: StepPlan, enter: Callable[[StepPlan], Awaitable[None]]) -> str:
        if self._is_entered:
            await enter(run)
        raise self._error

    def release_unused_slot(self) -> None:
        """There is none."""


async def fail(
    error: Exception,
    *,
    on_loss: OnLoss = "retry",
    is_entered: bool = True,
    host: FakeHost | None = None,
) -> tuple[StopReason | None, float, str | None]:
    """Return why the attempt stops, how long its job rests, and the error that the job fails with."""
    claim, pipeline = new_claim(), Pipeline("example", params=Params)
    pipeline.add(_retried if on_loss == "retry" else _not_twice, name="a")
    status, host = AttemptStatus(claim.head), host or FakeHost()
    graph: Any = GraphRunner(
        claim,
        Plan(pipeline, {}, 0.0),
        progress=JobProgress(pipeline.weights, floor=0.0),
        changes=ChangeBuilder(claim),
        host=host,  # type: ignore[arg-type]  # it has what the graph runner calls
        sender=None,  # type: ignore[arg-type]  # no step succeeds
        status=status,
        sizes=OutputSizes(OutputLimits(1 << 20, 1 << 20)),
    )
    await graph.run(FailingRunner(Entry(CrashRecord(None, "w"), claim.lease), error, is_entered=is_entered))
    failure = None if graph.failure is None else f"{graph.failure.code}: {graph.failure.message}"
    return status.reason, graph.pause_seconds, failure


@pytest.mark.parametrize("error", [FULL, StepStoppedError("timeout", trouble=FULL)])
async def test_a_job_rests_before_it_meets_the_same_store_again(error: Exception) -> None:
    assert await fail(error) == (StopReason.HANDED_BACK, 30.0, None)


@pytest.mark.parametrize(
    "error",
    [DatabaseBusyError("a lock"), StepStoppedError("timeout", trouble=DatabaseBusyError("a lock"))],
)
async def test_a_job_that_waited_for_postgresql_is_handed_back_at_once(error: Exception) -> None:
    assert await fail(error) == (StopReason.HANDED_BACK, 0.0, None)


@pytest.mark.parametrize("error", [StoreError("gone"), DatabaseBusyError("a lock")])
async def test_a_step_that_must_not_run_twice_fails_with_what_stopped_it(error: Exception) -> None:
    reason, _, failure = await fail(error, on_loss="fail")

    assert reason is StopReason.FAILED
    assert failure is not None
    assert failure.startswith("step_lost: ")
    assert str(error) in failure


async def test_the_writes_of_the_start_and_the_end_of_a_step_are_waits_of_that_step() -> None:
    host = FakeHost()

    await fail(DatabaseBusyError("a lock"), on_loss="fail", host=host)

    assert host.keys == ["a", "a"]


async def test_a_step_that_was_not_entered_is_handed_back_even_if_it_must_not_run_twice() -> None:
    assert await fail(DatabaseBusyError("a lock"), on_loss="fail", is_entered=False) == (
        StopReason.HANDED_BACK,
        0.0,
        None,
    )
