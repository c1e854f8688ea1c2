"""An attempt that only waits for process slots is handed back after a second, which is not counted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.jobs.progress import JobProgress
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.graph_runner import GraphRunner
from headrace.workers.attempt.outcome import AttemptStatus, StopReason
from headrace.workers.attempt.plan import Plan, StepPlan
from headrace.workers.attempt.step_waits import StepWaits
from headrace.workers.outputs import OutputLimits, OutputSizes
from support.virtual_time import in_virtual_time, running_loop
from support.worker_builders import new_claim, new_pipeline

WORK_SECONDS = 5.0


class LoopTime:
    """Replaces the module `time` where code reads the monotonic time: the loop's clock is the only one."""

    def monotonic(self) -> float:
        return running_loop().time()


class FakeHost:
    def __init__(self) -> None:
        self.outputs: dict[str, str] = {}
        self.changes: list[Change] = []
        self.waits = StepWaits()

    async def write(self, change: Change, _key: str | None = None) -> WriteResult:
        self.changes.append(change)
        return WriteResult(verdict="applied")

    write_later = property(lambda self: self.changes.append)


class FakeRunner:
    """Runs each step for five seconds, once *waits* has passed for its slot."""

    def __init__(self, *waits: float) -> None:
        self._waits = iter(waits)

    async def run(self, run: StepPlan, enter: Callable[[StepPlan], Awaitable[None]]) -> str:
        run.waits_since = running_loop().time()
        await asyncio.sleep(next(self._waits))
        await enter(run)
        await asyncio.sleep(WORK_SECONDS)
        return "null"

    def release_unused_slot(self) -> None:
        """There is none."""


class FakeSender:
    def flush(self) -> None:
        """Nobody watches."""


async def run_graph(graph: dict[str, tuple[str, ...]], *waits: float) -> tuple[float, float, Any]:
    """Return how long the attempt ran, how long it only waited, and why it stopped."""
    claim, pipeline = new_claim(), new_pipeline(graph, runs_in="process")
    status = AttemptStatus(claim.head)
    host, sender, runner = FakeHost(), FakeSender(), FakeRunner(*waits)
    graph_runner = GraphRunner(
        claim,
        Plan(pipeline, {}, running_loop().time()),
        progress=JobProgress(pipeline.weights, floor=0.0),
        changes=ChangeBuilder(claim),
        host=host,  # type: ignore[arg-type]  # it has what the graph runner calls
        sender=sender,  # type: ignore[arg-type]
        status=status,
        sizes=OutputSizes(OutputLimits(1 << 20, 1 << 20)),
    )
    await graph_runner.run(runner)  # type: ignore[arg-type]
    await graph_runner.stop()
    return running_loop().passed, round(host.waits.waited_seconds, 6), status.reason


@pytest.fixture(autouse=True)
def loop_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("graph_runner", "step_waits"):
        monkeypatch.setattr(f"headrace.workers.attempt.{module}.time", LoopTime())


@in_virtual_time
async def test_an_attempt_that_only_waits_for_a_slot_is_handed_back_after_a_second() -> None:
    assert await run_graph({"a": ()}, 60.0) == (1.0, 1.0, StopReason.HANDED_BACK)


@in_virtual_time
async def test_several_steps_that_wait_are_handed_back_a_second_after_the_last_began_to() -> None:
    assert await run_graph({"a": (), "b": ()}, 60.0, 60.0) == (1.0, 1.0, StopReason.HANDED_BACK)


@in_virtual_time
async def test_the_wait_for_each_step_is_counted_and_the_work_is_not() -> None:
    assert await run_graph({"a": (), "b": ("a",)}, 0.75, 0.5) == (0.75 + 0.5 + 2 * WORK_SECONDS, 1.25, None)


@in_virtual_time
async def test_a_step_that_waits_beside_one_that_runs_does_not_count() -> None:
    assert await run_graph({"a": (), "b": ()}, 0.5, 4.0) == (4.0 + WORK_SECONDS, 0.5, None)


@in_virtual_time
async def test_an_attempt_is_handed_back_a_second_after_its_only_running_step_has_ended() -> None:
    assert await run_graph({"a": (), "b": ()}, 0.5, 60.0) == (
        0.5 + WORK_SECONDS + 1.0,
        1.5,
        StopReason.HANDED_BACK,
    )
