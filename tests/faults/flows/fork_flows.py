"""Pipelines whose steps start processes from the worker itself, in a thread or in the event loop."""

import asyncio
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Way(Struct):
    """*folder*: where a neighbour says that it was entered, and looks for its end."""

    way: str = ""
    folder: str = ""


def square(number: int) -> int:
    return number * number


async def square_later(number: int) -> int:
    await asyncio.sleep(0.01)
    return square(number)


def square_in_a_loop(number: int) -> int:
    return asyncio.run(square_later(number))


def terminate_child() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join(60)
    return child.exitcode


def wait_for(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def leave_child(way: str, context: Any) -> Any:
    """Leave a child of `os.fork` in the way named; return its exit status in the parent."""
    if pid := os.fork():
        return wait_for(pid)
    match way:
        case "raises":
            raise LookupError("on purpose")
        case "exits":
            sys.exit(3)
        case "uses_the_context":
            context.progress(1, 2)
    return 0


def work_in_processes(way: str, context: Any) -> Any:
    match way:
        case "executor":
            with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
                return list(executor.map(square, [1, 2, 3]))
        case "loops":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(square_in_a_loop, [1, 2, 3])
        case "terminates":
            return [terminate_child() for _ in range(5)]
        case "fork" | "spawn" | "forkserver":
            with multiprocessing.get_context(way).Pool(2) as pool:
                return pool.map(square, [1, 2, 3])
        case _:
            return leave_child(way, context)


@step(retries=0)
def fork_in_a_thread(context: StepContext[Way]) -> Any:
    return work_in_processes(context.params.way, context)


@step(retries=0)
async def fork_in_the_loop(context: StepContext[Way]) -> Any:
    return work_in_processes(context.params.way, context)


@step(retries=0)
async def fork_and_wait(context: StepContext[Way]) -> int:
    pid = os.fork()
    if pid == 0:
        await asyncio.sleep(600)  # the child's event loop is that of the worker
    return await asyncio.to_thread(wait_for, pid)


@step
async def wait_until_told(context: StepContext[Way]) -> int:
    folder = Path(context.params.folder)
    (folder / "entered").touch()
    while not (folder / "go").exists():
        await asyncio.sleep(0.05)
    return context.attempt


def only(name: str, function: Any) -> Pipeline:
    pipeline = Pipeline(name, params=Way)
    pipeline.add(function, result=True)
    return pipeline


forking_thread = only("forking_thread", fork_in_a_thread)
forking_loop = only("forking_loop", fork_in_the_loop)
fork_waits = only("fork_waits", fork_and_wait)
neighbour = only("neighbour", wait_until_told)
