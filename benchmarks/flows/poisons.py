"""Steps that do harm: by raising, by ending their process, by never yielding, by what they eat or return."""

import os
import resource
from datetime import timedelta
from typing import Any

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class NoParams(Struct):
    """There is nothing to say."""


@step(retries=0)
async def raise_always(context: StepContext[NoParams]) -> None:
    """Safe to run again: it raises again."""
    raise RuntimeError("never well")


@step(retries=0)
async def return_oddly(context: StepContext[NoParams]) -> Any:
    """Safe to run again: nobody can store what it returns."""
    return object()


@step(retries=0, runs_in="process")
def leave(context: StepContext[NoParams]) -> None:
    """Safe to run again: it ends its process again."""
    os._exit(3)


@step(retries=0, runs_in="process", timeout=timedelta(seconds=1), grace=timedelta(seconds=0.2))
def never_yield(context: StepContext[NoParams]) -> None:
    """Safe to run again: it turns in a circle until it is killed."""
    while True:
        pass


@step(retries=0, runs_in="process")
def eat_memory(context: StepContext[NoParams]) -> None:
    """Safe to run again: it fails at a gibibyte."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    eaten = []
    while True:
        eaten.append(bytearray(1 << 26))


raising = Pipeline("raising", version=1, params=NoParams)
raising.add(raise_always)
odd = Pipeline("odd", version=1, params=NoParams)
odd.add(return_oddly)
leaving = Pipeline("leaving", version=1, params=NoParams)
leaving.add(leave)
turning = Pipeline("turning", version=1, params=NoParams)
turning.add(never_yield)
eating = Pipeline("eating", version=1, params=NoParams)
eating.add(eat_memory)
