"""Pipelines whose steps ignore that they should stop, until the file `go` is in their folder."""

import asyncio
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace import JobCancelledError, Pipeline, StepContext, step


class Entered(Struct):
    folder: str


def enter(context: StepContext[Entered], name: str) -> bool:
    """Record that the step was entered; return whether it may end."""
    Path(context.params.folder, name).touch()
    return Path(context.params.folder, "go").exists()


def note_stop(context: StepContext[Entered], name: str) -> None:
    """Record that the step has been asked to stop."""
    Path(context.params.folder, f"{name}.stop").touch()


def ignore_stop(context: StepContext[Entered], name: str) -> None:
    """Look for the stop, and go on."""
    try:
        context.raise_if_cancelled()
    except JobCancelledError:
        note_stop(context, name)


@step
async def in_the_loop(context: StepContext[Entered]) -> None:
    while not enter(context, "stubborn_loop"):
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            note_stop(context, "stubborn_loop")


@step(timeout=timedelta(seconds=0.2), grace=timedelta(0), retries=0)
def out_of_time(context: StepContext[Entered], item: int) -> None:
    enter(context, f"abandoned_{item}")
    while not Path(context.params.folder, "threads_end").exists():
        time.sleep(0.05)


@step
def in_a_thread(context: StepContext[Entered]) -> None:
    while not enter(context, "stubborn_thread"):
        ignore_stop(context, "stubborn_thread")
        time.sleep(0.05)


@step
async def in_many_calls(context: StepContext[Entered]) -> None:
    def call() -> None:
        while not enter(context, "stubborn_calls"):
            time.sleep(0.05)

    try:
        await asyncio.gather(*[asyncio.to_thread(call) for _ in range(50)])
    except asyncio.CancelledError:
        note_stop(context, "stubborn_calls")
        raise


@step(runs_in="process")
def in_a_process(context: StepContext[Entered]) -> None:
    while not enter(context, "stubborn_process"):
        ignore_stop(context, "stubborn_process")
        time.sleep(0.05)


@step
async def hold_the_lock(context: StepContext[Entered]) -> None:
    enter(context, "greedy")
    re.match("(a+)+$", "a" * 40 + "b")


def only(name: str, function: Any) -> Pipeline:
    pipeline = Pipeline(name, params=Entered)
    pipeline.add(function)
    return pipeline


abandoned = Pipeline("abandoned", params=Entered)
abandoned.add(out_of_time, for_each=lambda _: range(6))
stubborn_loop = only("stubborn_loop", in_the_loop)
stubborn_thread = only("stubborn_thread", in_a_thread)
stubborn_calls = only("stubborn_calls", in_many_calls)
stubborn_process = only("stubborn_process", in_a_process)
greedy = only("greedy", hold_the_lock)
