"""The pipeline `line`: five steps that do nothing, one after the other."""

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class NoParams(Struct):
    """No parameters."""


@step
async def nothing(context: StepContext[NoParams]) -> None:
    """Safe to run again."""


line = Pipeline("line", version=1, params=NoParams)
for place in range(5):
    line.add(nothing, name=f"step{place}")
