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
    seconds: float = 1


class Harm(Struct):
    """*attempts*: the number of attempts that do harm; 0 stands for all."""

    way: str
    attempts: int = 0


class Legs(Struct):
    """*deaths*: the number of steps that end their worker when they are first entered."""

    folder: str
    deaths: int


class Ledger(Struct):
    ledger: str


@step
async def wait(context: StepContext[Seconds]) -> int:
    await asyncio.sleep(context.params.seconds)
    return context.attempt


@step(retries=0)
async def harm(context: StepContext[Harm]) -> None:
    if context.params.attempts and context.attempt > context.params.attempts:
        return
    # The neighbours have begun.
    await asyncio.sleep(0.3)
    match context.params.way:
        case "blocks":
            time.sleep(20)  # noqa: ASYNC251  (that is the harm)
        case "blocks_later":
            await asyncio.sleep(0.7)
            time.sleep(20)  # noqa: ASYNC251  (that is the harm)
        case "holds_the_lock":
            re.match("(a+)+$", "a" * 40 + "b")
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            os._exit(3)


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
harmful = Pipeline("harmful", params=Harm)
harmful.add(harm)
legs = Pipeline("legs", params=Legs)
for number in range(10):
    legs.add(leg(number))
precious = Pipeline("precious", params=Ledger)
precious.add(pay)
