"""Pipelines that have an output or items to store once a file is there."""

import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Sign(Struct):
    """The path of the file."""

    sign: str


def await_file(params: Sign) -> Sequence[int]:
    while not Path(params.sign).exists():
        time.sleep(0.02)
    return range(2)


@step(runs_in="thread")
def wait(context: StepContext[Sign]) -> int:
    return len(await_file(context.params))


@step
async def follow(context: StepContext[Sign]) -> None:
    """It begins once the output of the first step is stored."""


@step
async def take(context: StepContext[Sign], item: int) -> int:
    return item


output_later = Pipeline("output_later", version=1, params=Sign)
output_later.add(wait)
output_later.add(follow, result=True)
items_later = Pipeline("items_later", version=1, params=Sign)
items_later.add(take, for_each=await_file, result=True)
