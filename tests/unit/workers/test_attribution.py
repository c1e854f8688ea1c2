"""Code that runs in the event loop or in a thread is recorded as that of the attempt that started it."""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

import pytest

from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.workers.attribution import OwnedTask, attribute_tasks, attributed, create_unmarked_task
from headrace.workers.crash_record import CrashRecord, read_death
from support.patience import PATIENCE_SECONDS

T = TypeVar("T")

FIRST: Final[HeldLease] = (UUID(int=1), 3)
LAST: Final[HeldLease] = (UUID(int=9), 9)
SECOND: Final[HeldLease] = (UUID(int=2), 1)


class Scene:
    """A crash record, and steps that run in the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.record = CrashRecord(path, "w")
        self.record.leave(self.record.enter(FIRST))

    def culprit(self) -> HeldLease | None:
        """Return the attempt that would be to blame if the process ended now."""
        death = read_death(self._path)
        assert death is not None
        return death.blamed

    async def run(self, lease: HeldLease, step: Coroutine[object, object, T]) -> T:
        """Run a step as code of the attempt that holds *lease*."""
        entry = self.record.enter(lease)
        try:
            task = asyncio.create_task(step)
            entry.suspend()
            return await task
        finally:
            self.record.leave(entry)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    loop = asyncio.get_running_loop()
    attribute_tasks(loop)
    yield Scene(tmp_path / "worker.crash")
    loop.set_task_factory(None)


async def test_the_code_that_runs_is_attributed_after_each_await_and_not_between(scene: Scene) -> None:
    seen = []

    async def attempt(turn: asyncio.Event, next_turn: asyncio.Event) -> None:
        for _ in range(2):
            await turn.wait()
            turn.clear()
            seen.append(scene.culprit())
            next_turn.set()

    one, two = asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(scene.run(FIRST, attempt(one, two))),
        asyncio.create_task(scene.run(SECOND, attempt(two, one))),
    ]
    await asyncio.sleep(0)
    last = scene.record.enter(LAST)
    last.suspend()
    seen.append(scene.culprit())
    one.set()
    await asyncio.gather(*tasks)

    assert seen == [LAST, FIRST, SECOND, FIRST, SECOND]
    assert scene.culprit() == LAST


async def test_tasks_and_threads_that_an_attempt_starts_are_attributed_to_it(scene: Scene) -> None:
    async def look() -> HeldLease | None:
        await asyncio.sleep(0)
        return scene.culprit()

    async def attempt() -> list[HeldLease | None]:
        in_tasks = await asyncio.gather(look(), asyncio.wait_for(look(), PATIENCE_SECONDS))
        # The loop waits meanwhile, so the thread is the only one that runs code of an attempt.
        return [*in_tasks, await asyncio.to_thread(scene.culprit)]

    assert await scene.run(FIRST, attempt()) == [FIRST] * 3
    assert await asyncio.create_task(look()) is None


async def test_a_function_is_attributed_to_the_attempt_that_hands_it_to_a_thread(scene: Scene) -> None:
    async def attempt() -> HeldLease | None:
        function = attributed(scene.culprit)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, function)

    assert await scene.run(FIRST, attempt()) == FIRST
    assert attributed(scene.culprit) == scene.culprit


async def test_an_attempt_is_cancelled_and_fails_as_without_a_mark(scene: Scene) -> None:
    seen = []
    started = asyncio.Event()

    async def attempt() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(scene.culprit())
            raise

    async def fail() -> None:
        raise LookupError("on purpose")

    task = asyncio.create_task(scene.run(FIRST, attempt()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(LookupError, match="on purpose"):
        await scene.run(FIRST, fail())

    assert seen == [FIRST]
    assert scene.culprit() is None


async def test_an_attempt_cancels_its_own_tasks_and_no_others(scene: Scene) -> None:
    async def cancel_all() -> list[bool]:
        mine = asyncio.create_task(asyncio.sleep(60))
        return [task.cancel() for task in (mine, neighbour, of_the_worker)]

    of_the_worker = asyncio.create_task(asyncio.sleep(60))
    entry = scene.record.enter(SECOND)
    neighbour = asyncio.create_task(asyncio.sleep(60))
    scene.record.leave(entry)

    assert await scene.run(FIRST, cancel_all()) == [True, False, False]
    # The worker cancels the tasks of everybody.
    assert [task.cancel() for task in (neighbour, of_the_worker)] == [True, True]
    await asyncio.wait({neighbour, of_the_worker}, timeout=60)
    assert neighbour.cancelled()


async def test_a_task_works_for_the_attempt_of_the_task_that_created_it(scene: Scene) -> None:
    async def work() -> list[HeldLease | None]:
        inner = asyncio.create_task(asyncio.sleep(0))
        await inner
        return [task.lease for task in (asyncio.current_task(), inner) if isinstance(task, OwnedTask)]

    assert await create_unmarked_task(work(), FIRST) == [FIRST, FIRST]
    assert await asyncio.create_task(work()) == [None, None]


async def test_an_error_that_nobody_retrieves_is_attributed_to_its_attempt(scene: Scene) -> None:
    seen = []

    class NosyError(Exception):
        def __str__(self) -> str:
            seen.append(scene.culprit())
            return "nosy"

    async def fail() -> None:
        raise NosyError

    async def attempt() -> "asyncio.Task[None]":
        task = asyncio.create_task(fail())
        await asyncio.wait({task})
        return task

    task = await scene.run(SECOND, attempt())
    del task
    await asyncio.sleep(0)
    gc.collect()

    assert set(seen) == {SECOND}
    assert scene.culprit() is None


async def test_a_task_of_an_attempt_shows_its_coroutine(scene: Scene) -> None:
    async def named() -> str:
        task = asyncio.current_task()
        assert task is not None
        assert inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_RUNNING  # type: ignore[arg-type]
        return repr(task) + str(task.get_stack())

    async def attempt() -> str:
        return await asyncio.create_task(named())

    text = str(await scene.run(FIRST, attempt()))

    assert text.count("named") == 2
