"""Pipelines whose steps run in processes, first or later."""

import asyncio
import time
from typing import Any

from msgspec import Struct

from headrace import Pipeline, RetryableError, StepContext, step


class Seconds(Struct):
    seconds: float = 1.0
    items: int = 1


@step(runs_in="process", retries=0)
def compute(context: StepContext[Seconds]) -> float:
    time.sleep(context.params.seconds)
    return context.params.seconds


@step(runs_in="process", retries=0)
def compute_item(context: StepContext[Seconds], item: int) -> int:
    time.sleep(context.params.seconds)
    return item


@step(runs_in="thread", retries=0)
def read_item(context: StepContext[Seconds], item: int) -> int:
    time.sleep(context.params.seconds)
    return item


@step
async def prepare(context: StepContext[Seconds]) -> None:
    await asyncio.sleep(0)


@step
async def wait_for_a_retry(context: StepContext[Seconds]) -> None:
    if context.attempt == 1:
        raise RetryableError("not yet", retry_after=3)


def pipeline(name: str, *steps: Any) -> Pipeline:
    built = Pipeline(name, params=Seconds)
    for function in steps:
        built.add(function)
    return built


process_first = pipeline("process_first", compute)
process_later = pipeline("process_later", prepare, compute)
chain = Pipeline("chain", params=Seconds)
for number in range(5):
    chain.add(compute, name=f"compute_{number}")
retried_late = pipeline("retried_late", wait_for_a_retry)
process_items = Pipeline("process_items", params=Seconds)
process_items.add(compute_item, for_each=lambda params: range(params.items), result=True)
thread_items = Pipeline("thread_items", params=Seconds)
thread_items.add(read_item, for_each=lambda params: range(params.items), result=True)
