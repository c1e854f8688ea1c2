"""Steps that return the environments that they can see."""

import os
from pathlib import Path

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Nothing(Struct):
    pass


class Seen(Struct):
    """What a step sees: its environment, and what the system shows of its process and its ancestors'."""

    environment: dict[str, str]
    processes: list[str]


def see(ancestors: int) -> Seen:
    shown, pid = [], os.getpid()
    for _ in range(ancestors + 1):
        shown.append(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").replace("\0", "\n"))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return Seen(dict(os.environ), shown)


@step(runs_in="process")
def look_apart(context: StepContext[Nothing]) -> Seen:
    """Look from a process step: its parents are a keeper and the fork server."""
    return see(2)


@step
async def look_here(context: StepContext[Nothing]) -> Seen:
    """Look from the worker itself."""
    return see(0)


apart = Pipeline("apart", params=Nothing)
apart.add(look_apart, result=True)
here = Pipeline("here", params=Nothing)
here.add(look_here, result=True)
