"""Pipelines with harmful steps: they raise, exit, never yield, use up memory or return an odd value."""

import os
import resource
from datetime import timedelta
from typing import Any

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class NoParams(Struct):
    """No parameters."""


@step(retries=0)
async def raise_always(context: StepContext[NoParams]) -> None:
    """Safe to run again: it raises again."""
    raise RuntimeError("never well")


@step(retries=0)
async def return_oddly(context: StepContext[NoParams]) -> Any:
    """Safe to run again: its output can never be stored."""
    return object()


@step(retries=0, runs_in="process")
def leave(context: StepContext[NoParams]) -> None:
    """Safe to run again: it ends its process again."""
    os._exit(3)


@step(retries=0, runs_in="process", timeout=timedelta(seconds=1), grace=timedelta(seconds=0.2))
def never_yield(context: StepContext[NoParams]) -> None:
    """Safe to run again: it loops until it is killed."""
    while True:
        pass


@step(retries=0, runs_in="process")
def eat_memory(context: StepContext[NoParams]) -> None:
    """Safe to run again: it fails at a gibibyte."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    blocks = []
    while True:
        blocks.append(bytearray(1 << 26))


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
