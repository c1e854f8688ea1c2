"""The calls of `asyncio.to_thread` of one job wait for no other job, and the worker's own calls for none."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.attempt.step_runner import Scratch
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.attribution import attribute_tasks
from headrace.workers.crash_record import CrashRecord
from headrace.workers.job_threads import call_own
from support.patience import PATIENCE_SECONDS

T = TypeVar("T")

WIDE: Final[HeldLease] = (UUID(int=1), 1)
OTHER: Final[HeldLease] = (UUID(int=2), 1)
# More than any pool has threads.
MANY: Final = 200

Run = Callable[[HeldLease, Coroutine[Any, Any, T]], Coroutine[Any, Any, T]]


@pytest.fixture
async def run() -> AsyncIterator[Run[Any]]:
    """Runs a coroutine as a step of the attempt that holds a lease."""
    record = CrashRecord(None, "w")

    async def run_step(lease: HeldLease, step: Coroutine[Any, Any, T]) -> T:
        entry = record.enter(lease)
        try:
            task = asyncio.create_task(step)
            entry.suspend()
            return await task
        finally:
            record.leave(entry)

    loop = asyncio.get_running_loop()
    attribute_tasks(loop)
    yield run_step
    loop.set_task_factory(None)


@pytest.fixture
async def gate(run: Run[Any]) -> AsyncIterator[threading.Event]:
    """Opens when the test ends: until then a job keeps all its threads busy."""
    opened = threading.Event()

    async def wide() -> None:
        await asyncio.gather(*[asyncio.to_thread(opened.wait, PATIENCE_SECONDS) for _ in range(MANY)])

    task = asyncio.create_task(run(WIDE, wide()))
    await asyncio.sleep(0.05)
    yield opened
    opened.set()
    await task


async def test_a_job_whose_calls_occupy_its_threads_keeps_no_other_waiting(
    run: Run[Any], gate: threading.Event
) -> None:
    async def other() -> int:
        return await asyncio.to_thread(int, 7)

    async with asyncio.timeout(PATIENCE_SECONDS):
        results = [await run(OTHER, other()), await asyncio.to_thread(int, 8)]

    assert (results, gate.is_set()) == ([7, 8], False)


async def test_the_worker_does_its_own_work_for_a_job_whose_calls_occupy_its_threads(
    run: Run[Any], gate: threading.Event, tmp_path: Path
) -> None:
    async def work() -> int:
        scratch = Scratch(tmp_path, "step")
        (scratch.path / "file").touch()
        await scratch.remove(StopSignal())
        return await call_own(lambda: len(list(tmp_path.iterdir())))

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await run(WIDE, work()) == 0
    assert not gate.is_set()


async def test_the_steps_of_a_job_share_a_bounded_number_of_threads_which_end_with_them(
    run: Run[Any], gate: threading.Event
) -> None:
    seen: set[threading.Thread] = set()

    async def step() -> None:
        calls = [asyncio.to_thread(lambda: seen.add(threading.current_thread())) for _ in range(MANY)]
        await asyncio.gather(*calls)

    async def steps() -> None:
        await asyncio.gather(*[asyncio.create_task(run(OTHER, step())) for _ in range(5)])

    await run(OTHER, steps())
    gc.collect()
    for thread in seen:
        await asyncio.to_thread(thread.join, PATIENCE_SECONDS)

    assert 1 <= len(seen) <= 32
    assert not any(thread.is_alive() for thread in seen)


async def test_a_scratch_folder_that_takes_long_to_remove_does_not_keep_a_worker_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_remove = threading.Event()
    monkeypatch.setattr("shutil.rmtree", lambda _path, **_options: may_remove.wait(PATIENCE_SECONDS))
    scratch, stop = Scratch(tmp_path, "step"), StopSignal()
    assert scratch.path.exists()
    removing = asyncio.create_task(scratch.remove(stop))
    await asyncio.sleep(0)
    stop.deadline = asyncio.get_running_loop().time()
    stop.set()

    async with asyncio.timeout(PATIENCE_SECONDS):
        await removing
    assert not may_remove.is_set()
    may_remove.set()
