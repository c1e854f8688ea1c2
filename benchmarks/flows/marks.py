"""A step that notes when it was entered, in a file that the benchmark reads."""

import time
from pathlib import Path
from struct import pack

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class MarkParams(Struct):
    """*place* is the number of the job; its moment is the 8 bytes there, in ns of the monotonic clock."""

    file: str
    place: int


@step
async def mark(context: StepContext[MarkParams]) -> None:
    """Safe to run again: it notes a later moment."""
    note(Path(context.params.file), context.params.place, time.monotonic_ns())


def note(file: Path, place: int, moment: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place * 8)
        opened.write(pack("q", moment))


marks = Pipeline("marks", version=1, params=MarkParams)
marks.add(mark)
