"""The pipelines `marks` and `marks_apart`: a step writes the time of its start to a file of the benchmark."""

import time
from pathlib import Path
from struct import pack

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class MarkParams(Struct):
    """*place* is the number of the job; the 8 bytes there are its start in ns of the monotonic clock."""

    file: str
    place: int


@step
async def mark(context: StepContext[MarkParams]) -> None:
    """Safe to run again: it writes a later time."""
    write_mark(Path(context.params.file), context.params.place, time.monotonic_ns())


@step(runs_in="process")
def mark_apart(context: StepContext[MarkParams]) -> None:
    """Safe to run again: it writes a later time."""
    write_mark(Path(context.params.file), context.params.place, time.monotonic_ns())


def write_mark(file: Path, place: int, nanoseconds: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place * 8)
        opened.write(pack("q", nanoseconds))


marks = Pipeline("marks", version=1, params=MarkParams)
marks.add(mark)
marks_apart = Pipeline("marks_apart", version=1, params=MarkParams)
marks_apart.add(mark_apart)
