"""The time for which an attempt only waits for a service in trouble is known, also in hindsight."""

import asyncio

import pytest

from headrace.domain.database import DatabaseBusyError
from headrace.workers.attempt.step_waits import StepWaits
from support.virtual_time import in_virtual_time, running_loop
from support.worker_builders import new_node, new_run

ERROR = DatabaseBusyError("a lock")
A, B = new_run(new_node("a")), new_run(new_node("b"))


class LoopTime:
    """Replaces the module `time`: the loop's clock is the only one."""

    def monotonic(self) -> float:
        return running_loop().time()


@pytest.fixture(autouse=True)
def loop_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.workers.attempt.step_waits.time", LoopTime())


async def wait(waits: StepWaits, key: str, seconds: float, *, patience_seconds: float = 1.0) -> None:
    with waits.waiting(key, ERROR, patience_seconds=patience_seconds):
        await asyncio.sleep(seconds)


@in_virtual_time
async def test_only_a_wait_beyond_its_patience_counts_and_then_as_a_whole() -> None:
    waits = StepWaits()
    waits.lone = A
    await wait(waits, "a", 0.75)
    short = waits.waited_seconds
    await wait(waits, "a", 3.0)
    await asyncio.sleep(5.0)

    assert (short, round(waits.waited_seconds, 6)) == (0.0, 3.0)


@in_virtual_time
async def test_a_wait_of_the_attempt_between_its_steps_counts() -> None:
    waits = StepWaits()
    await asyncio.sleep(2.0)
    await wait(waits, "a", 3.0)
    await asyncio.sleep(1.0)

    assert round(waits.waited_seconds, 6) == 3.0
    assert waits.since_for_slots() is None


@in_virtual_time
async def test_a_wait_beside_a_step_that_runs_does_not_count() -> None:
    waits = StepWaits()
    waits.runs = [A, B]
    await wait(waits, "a", 3.0)

    assert waits.waited_seconds == 0.0


@in_virtual_time
async def test_waits_of_all_steps_count_while_all_of_them_last() -> None:
    waits = StepWaits()
    waits.runs = [A, B]
    waiting = asyncio.create_task(wait(waits, "a", 10.0))
    await asyncio.sleep(4.0)
    await wait(waits, "b", 3.0)
    await waiting

    assert round(waits.waited_seconds, 6) == 3.0


@in_virtual_time
async def test_a_wait_that_lasts_is_trouble_of_its_step_alone() -> None:
    waits = StepWaits()
    waiting = asyncio.create_task(wait(waits, "a", 3.0))
    await asyncio.sleep(0.5)
    early = waits.trouble_of("a")
    await asyncio.sleep(1.5)

    assert (early, waits.trouble_of("a"), waits.trouble_of("b")) == (None, ERROR, None)
    await waiting
    assert waits.trouble_of("a") is None


@in_virtual_time
async def test_a_service_that_is_awaited_is_no_wait_for_slots() -> None:
    waits = StepWaits()
    waits.runs = [A]
    waiting = asyncio.create_task(wait(waits, "a", 3.0))
    await asyncio.sleep(2.0)

    assert waits.since() is not None
    assert waits.since_for_slots() is None
    await waiting
