"""Pipelines whose steps try to end the event loop that runs them, and a neighbour."""

import asyncio
import sys
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Way(Struct):
    """*folder*: where a neighbour says that it was entered, and looks for its end."""

    way: str = ""
    folder: str = ""


class LeavingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


async def leave(error: BaseException) -> NoReturn:
    raise error


def leave_in_a_callback(way: str) -> None:
    loop = asyncio.get_running_loop()
    match way:
        case "exits_in_a_callback":
            loop.call_soon(sys.exit, 3)
        case "cancels_all_in_a_callback":
            for task in asyncio.all_tasks():
                loop.call_soon(task.cancel)
        case "exits_in_a_timer":
            loop.call_later(0.1, sys.exit, 3)
        case "exits_in_a_done_callback":
            future = loop.create_future()
            future.add_done_callback(lambda _done: sys.exit(3))
            future.set_result(None)


def end_loop(way: str) -> "asyncio.Task[None] | None":
    """End the loop in the way named; a task that does it is returned."""
    loop = asyncio.get_running_loop()
    match way:
        case "stops":
            loop.stop()
        case "exits_in_a_task":
            return asyncio.create_task(leave(SystemExit(3)))
        case "interrupts_in_a_task":
            return asyncio.create_task(leave(KeyboardInterrupt()))
        case "stops_from_a_thread":
            loop.call_soon_threadsafe(loop.stop)
        case "cancels_all":
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        case "raises_an_error_that_exits":
            raise LeavingError
        case _:
            leave_in_a_callback(way)
    return None


@step(retries=0)
async def end_the_loop(context: StepContext[Way]) -> int:
    if context.attempt > 1:
        return context.attempt
    task = end_loop(context.params.way)
    await asyncio.sleep(0.3)  # the loop goes on meanwhile
    assert task is None or task.done()
    return context.attempt


@step
async def wait_until_told(context: StepContext[Way]) -> int:
    folder = Path(context.params.folder)
    (folder / "entered").touch()
    while not (folder / "go").exists():
        await asyncio.create_task(asyncio.sleep(0.05))
    return context.attempt


def only(name: str, function: Any) -> Pipeline:
    pipeline = Pipeline(name, params=Way)
    pipeline.add(function, result=True)
    return pipeline


ending = only("ending", end_the_loop)
neighbour = only("neighbour", wait_until_told)
