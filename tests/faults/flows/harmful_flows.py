"""Pipelines that end their worker, and neighbours that must not suffer from it."""

import asyncio
import os
import re
import signal
import time
from pathlib import Path

from msgspec import Struct

from headrace import Pipeline, Step, StepContext, step


class Seconds(Struct):
    """*folder*: where the step says that it was entered."""

    seconds: float = 1
    folder: str = ""


class Harm(Struct):
    """*attempts*: the number of attempts that do harm; 0 stands for all.

    The harm is done when *neighbours* other jobs have entered their steps, as the files in *folder* tell.
    """

    way: str
    folder: str
    neighbours: int
    attempts: int = 0


class Legs(Struct):
    """*deaths*: the number of steps that end their worker when they are first entered."""

    folder: str
    deaths: int


class Ledger(Struct):
    ledger: str


def say_entered(context: StepContext[Seconds] | StepContext[Harm]) -> None:
    if context.params.folder:
        Path(context.params.folder, str(context.job_id)).touch()


def waits_for_neighbours(params: Harm) -> bool:
    return len(list(Path(params.folder).iterdir())) <= params.neighbours


class BlockingError(Exception):
    """An error whose text takes long to compute."""

    def __str__(self) -> str:
        time.sleep(20)
        return "late"


async def fail_later() -> None:
    await asyncio.sleep(0.01)
    raise BlockingError


def hold_the_lock() -> None:
    re.match("(a+)+$", "a" * 40 + "b")


def end_process(way: str) -> None:
    """Do the harm of *way*; the callers say whether it happens in a task or in a thread."""
    match way.partition("_in_")[0]:
        case "blocks":
            time.sleep(20)
        case "holds_the_lock":
            hold_the_lock()
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            os._exit(3)
        case "raises":
            raise BlockingError


@step
async def wait(context: StepContext[Seconds]) -> int:
    say_entered(context)
    await asyncio.sleep(context.params.seconds)
    return context.attempt


@step
def wait_in_a_thread(context: StepContext[Seconds]) -> int:
    say_entered(context)
    time.sleep(context.params.seconds)
    return context.attempt


@step(retries=0)
async def harm(context: StepContext[Harm]) -> None:
    params = context.params
    if params.attempts and context.attempt > params.attempts:
        return
    say_entered(context)
    while waits_for_neighbours(params):
        await asyncio.sleep(0.02)
    # In a later attempt they have begun again.
    await asyncio.sleep(0.3)
    if params.way.endswith("_in_a_task"):

        async def harm_later() -> None:
            await asyncio.sleep(0.02)
            end_process(params.way)

        await asyncio.gather(asyncio.sleep(0.01), harm_later())
    elif params.way == "leaves_a_task":
        asyncio.create_task(fail_later())  # noqa: RUF006  (nobody retrieves its error)
        await asyncio.sleep(1)
    elif params.way.endswith("_in_to_thread"):
        await asyncio.to_thread(end_process, params.way)
    else:
        end_process(params.way)


@step(retries=0)
def harm_in_a_thread(context: StepContext[Harm]) -> None:
    if context.attempt > context.params.attempts:
        return
    say_entered(context)
    while waits_for_neighbours(context.params):
        time.sleep(0.02)
    # The last neighbour has made its file, and is still in its code.
    time.sleep(0.3)
    end_process(context.params.way)


def leg(number: int) -> "Step[[StepContext[Legs]], object]":
    async def run(context: StepContext[Legs]) -> int:
        mark = Path(context.params.folder) / f"{context.job_id}-{number}"
        if number < context.params.deaths and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    run.__name__ = f"leg_{number}"
    return step(run)


@step(on_loss="fail")
async def pay(context: StepContext[Ledger]) -> None:
    with Path(context.params.ledger).open("a") as ledger:  # noqa: ASYNC230  (it is short)
        ledger.write("entered\n")
    await asyncio.sleep(60)


patient = Pipeline("patient", params=Seconds)
patient.add(wait, result=True)
patient_thread = Pipeline("patient_thread", params=Seconds)
patient_thread.add(wait_in_a_thread, result=True)
harmful = Pipeline("harmful", params=Harm)
harmful.add(harm)
harmful_thread = Pipeline("harmful_thread", params=Harm)
harmful_thread.add(harm_in_a_thread)
legs = Pipeline("legs", params=Legs)
for number in range(10):
    legs.add(leg(number))
precious = Pipeline("precious", params=Ledger)
precious.add(pay)
