"""Runs `headrace` so that it breaks at one named point: `crashing.py POINT:PASSAGE:BREAKS ARGUMENT...`.

A point is a function that is wrapped before the command starts; nothing in `src` knows of it. *PASSAGE* is
which visit breaks it, from 1.
"""

import asyncio
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, cast

from domain.database import DatabaseAwayError

Breaks = Literal["kill", "stop", "lose"]


def moves(_answer: Any, changes: Any = ()) -> bool:
    """Whether a batch ends an attempt."""
    return any(change.move is not None for change in changes)


def checkpoints(_answer: Any, changes: Any = ()) -> bool:
    """Whether a batch stores the output of a step, and ends no attempt."""
    stored = any(event.type == "step.succeeded" for change in changes for event in change.events)
    return stored and not moves(None, changes)


def found(answer: Any, *_: Any) -> bool:
    return bool(answer)


def always(*_: Any) -> bool:
    return True


@dataclass(frozen=True)
class Point:
    """*function*, *when* it is entered or left and *counts* says yes to its answer and arguments."""

    function: str
    when: Literal["before", "after"]
    counts: Callable[..., bool] = always


_CLAIM: Final = "domain.jobs.execution:Execution.claim"
_WRITE: Final = "domain.jobs.execution:Execution.write"

POINTS: Final = {
    "after_claim": Point(_CLAIM, "after", found),
    "before_checkpoint": Point(_WRITE, "before", checkpoints),
    "after_checkpoint": Point(_WRITE, "after", checkpoints),
    "before_finish": Point(_WRITE, "before", moves),
    "after_finish": Point(_WRITE, "after", moves),
    "before_ring": Point("adapters.doorbell:Doorbell.ring", "before"),
    "holding_a_job": Point("domain.jobs.repository:JobRepository.log", "before"),
}


def command(point: str, passage: int = 1, breaks: Breaks = "kill") -> tuple[str, ...]:
    """What to run instead of `headrace`.

    `kill` and `stop` are signals to itself; `lose` lets what was done count and its answer be lost.
    """
    return (sys.executable, "-P", str(Path(__file__)), f"{point}:{passage}:{breaks}")


def arm(point: Point, passage: int, breaks: Breaks) -> None:
    """Wrap the function of *point*."""
    module, _, path = point.function.partition(":")
    owner_name, _, name = path.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    inner = getattr(owner, name)
    visits = count(1)

    def visit(answer: Any, arguments: tuple[Any, ...]) -> None:
        if point.counts(answer, *arguments) and next(visits) == passage:
            _break(breaks)

    if asyncio.iscoroutinefunction(inner):

        @functools.wraps(inner)
        async def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
            if point.when == "before":
                visit(None, arguments)
            answer = await inner(self, *arguments, **named)
            if point.when == "after":
                visit(answer, arguments)
            return answer

        setattr(owner, name, wrapped)
        return

    @functools.wraps(inner)
    def wrapped_call(self: Any, *arguments: Any, **named: Any) -> Any:
        if point.when == "before":
            visit(None, arguments)
        answer = inner(self, *arguments, **named)
        if point.when == "after":
            visit(answer, arguments)
        return answer

    setattr(owner, name, wrapped_call)


def _break(breaks: Breaks) -> None:
    sys.stderr.write(f"breaks: {breaks}\n")
    sys.stderr.flush()
    if breaks == "lose":
        raise DatabaseAwayError("the answer was lost")
    os.kill(os.getpid(), signal.SIGKILL if breaks == "kill" else signal.SIGSTOP)


if __name__ == "__main__":
    name, visit, way = sys.argv[1].split(":")
    sys.argv = ["headrace", *sys.argv[2:]]
    arm(POINTS[name], int(visit), cast(Breaks, way))
    from cli.main import main

    main()
