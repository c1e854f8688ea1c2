"""Small pipelines for docs, tests and benchmarks: `noop`, `ticks`, `flaky` and `crunch`."""

import asyncio
import math
import time
from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct

from headrace import Pipeline, RetryableError, StepContext, step


class NoParams(Struct, forbid_unknown_fields=True):
    pass


@step
async def nothing(context: StepContext[NoParams]) -> None:
    """Safe to run again: it does nothing."""


noop = Pipeline("noop", version=1, params=NoParams, description="One step that does nothing.")
noop.add(nothing, result=True)


class TicksParams(Struct, forbid_unknown_fields=True):
    """*count* ticks, *interval_ms* apart, in each of *steps* parallel runs."""

    count: Annotated[int, Meta(ge=1, le=100_000)] = 10
    interval_ms: Annotated[int, Meta(ge=0, le=60_000)] = 100
    steps: Annotated[int, Meta(ge=1, le=100)] = 1


class Ticked(Struct):
    ticks: int


@step
async def tick(context: StepContext[TicksParams], item: int) -> Ticked:  # noqa: ARG001
    """Safe to run again: it counts from the start."""
    params = context.params
    for done in range(1, params.count + 1):
        await context.raise_if_cancelled()
        await asyncio.sleep(params.interval_ms / 1000)
        await context.progress(done, params.count, f"tick {done}")
    return Ticked(params.count)


@step
async def total(context: StepContext[TicksParams]) -> Ticked:
    """Safe to run again: it adds up stored outputs."""
    ticked: list[Ticked] = await context.output(ticking)
    return Ticked(sum(output.ticks for output in ticked))


ticks = Pipeline(
    "ticks", version=1, params=TicksParams, description="Counts slowly and reports its progress."
)
ticking = ticks.add(tick, for_each=lambda params: range(params.steps), weight=10)
ticks.add(total, result=True)


class FlakyParams(Struct, forbid_unknown_fields=True):
    fail_times: Annotated[int, Meta(ge=0, le=100)] = 1


class Survived(Struct):
    failures: int


_failures: dict[str, int] = {}


@step
async def fail_first(context: StepContext[FlakyParams]) -> Survived:
    """Safe to run again: it is meant to be. It counts its failures in this process."""
    job = str(context.job_id)
    failed = _failures.get(job, 0)
    if failed < context.params.fail_times:
        _failures[job] = failed + 1
        raise RetryableError(
            f"failing on purpose, {failed + 1} of {context.params.fail_times}", retry_after=0.05
        )
    _failures.pop(job, None)
    return Survived(failed)


flaky = Pipeline(
    "flaky", version=1, params=FlakyParams, description="Fails a number of times before it succeeds."
)
flaky.add(fail_first, result=True)


class CrunchParams(Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 1.0


class Crunched(Struct):
    rounds: int


@step(runs_in="process", grace=timedelta(seconds=5))
def burn(context: StepContext[CrunchParams]) -> Crunched:
    """Safe to run again: it only uses CPU time."""
    began = time.monotonic()
    seconds = context.params.seconds
    rounds = 0
    while (spent := time.monotonic() - began) < seconds:
        context.raise_if_cancelled()
        math.factorial(2_000)
        rounds += 1
        if rounds % 20 == 0:
            context.progress(min(spent, seconds), seconds)
    return Crunched(rounds)


crunch = Pipeline(
    "crunch", version=1, params=CrunchParams, description="Keeps one core busy in a child process."
)
crunch.add(burn, result=True)
