"""Runs `headrace` so that it breaks at one named point: `crashing.py POINT:PASSAGE:BREAKS ARGUMENT...`.

A point is a function that is wrapped before the command starts; `src` does not know of it. *PASSAGE* is the
number of the visit that breaks, from 1. A muted function stays muted from that visit on.
"""

import asyncio
import functools
import importlib
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, cast

from headrace.adapters.database import SESSION
from headrace.domain.database import DatabaseAwayError
from headrace.domain.jobs.states import JobState

BreakMode = Literal["kill", "stop", "hold", "lose", "mute", "hang"]


def moves(_result: Any, changes: Any = ()) -> bool:
    """Return whether a batch ends an attempt."""
    return any(change.move is not None for change in changes)


def checkpoints(_result: Any, changes: Any = ()) -> bool:
    """Return whether a batch stores the output of a step and ends no attempt."""
    stored = any(event.type == "step.succeeded" for change in changes for event in change.events)
    return stored and not moves(None, changes)


def ends(_result: Any, news: Any = ()) -> bool:
    """Return whether the news contain the last event of a job."""
    return any(JobState(job_news.state).is_final for job_news in news)


def has_result(result: Any, *_: Any) -> bool:
    return bool(result)


def always(*_: Any) -> bool:
    return True


@dataclass(frozen=True)
class Point:
    """A visit of *function*, *before* or *after* the call, if *counts* accepts its result and arguments."""

    function: str
    when: Literal["before", "after"]
    counts: Callable[..., bool] = always


_CLAIM: Final = "headrace.domain.jobs.attempts.queue:JobQueue.claim"
_WRITE: Final = "headrace.domain.jobs.attempts.queue:JobQueue.write"

POINTS: Final = {
    "after_claim": Point(_CLAIM, "after", has_result),
    "before_checkpoint": Point(_WRITE, "before", checkpoints),
    "after_checkpoint": Point(_WRITE, "after", checkpoints),
    "before_finish": Point(_WRITE, "before", moves),
    "after_finish": Point(_WRITE, "after", moves),
    "before_ring": Point("headrace.adapters.doorbell:Doorbell.ring", "before"),
    "last_news": Point("headrace.adapters.publisher:RedisPublisher.publish", "before", ends),
    "submitting": Point("headrace.domain.jobs.submission.submitter:Submitter.submit", "before"),
    "holding_a_job": Point("headrace.domain.jobs.repository:JobRepository.request_cancel", "before"),
}


def command(point: str, passage: int = 1, breaks: BreakMode = "kill") -> tuple[str, ...]:
    """Return the command to run instead of `headrace`.

    `kill` and `stop` send a signal to the own process; `hold` is a stop for which PostgreSQL ends no idle
    transaction; `lose` makes the call and discards its result; `mute`
    skips the call, from that visit on; `hang` never returns, and never gives Python's lock back.
    """
    return (sys.executable, "-P", str(Path(__file__)), f"{point}:{passage}:{breaks}")


def arm(point: Point, passage: int, breaks: BreakMode) -> None:
    """Wrap the function of *point*."""
    module, _, path = point.function.partition(":")
    owner_name, _, name = path.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    inner = getattr(owner, name)
    visit = _Visits(point, passage, breaks)

    if asyncio.iscoroutinefunction(inner):

        @functools.wraps(inner)
        async def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
            if point.when == "before" and visit(None, arguments):
                return None
            result = await inner(self, *arguments, **named)
            if point.when == "after":
                visit(result, arguments)
            return result

        setattr(owner, name, wrapped)
        return

    @functools.wraps(inner)
    def wrapped_call(self: Any, *arguments: Any, **named: Any) -> Any:
        if point.when == "before" and visit(None, arguments):
            return None
        result = inner(self, *arguments, **named)
        if point.when == "after":
            visit(result, arguments)
        return result

    setattr(owner, name, wrapped_call)


class _Visits:
    """Counts the visits of a point, and breaks at the chosen one."""

    def __init__(self, point: Point, passage: int, breaks: BreakMode) -> None:
        self._point = point
        self._passage = passage
        self._breaks = breaks
        self._numbers = count(1)

    def __call__(self, result: Any, arguments: tuple[Any, ...]) -> bool:
        """Count a visit. Return whether to skip the call."""
        if not self._point.counts(result, *arguments):
            return False
        number = next(self._numbers)
        is_muted = self._breaks == "mute" and number >= self._passage
        if is_muted or number == self._passage:
            _break(self._breaks)
        return is_muted


def _break(breaks: BreakMode) -> None:
    sys.stderr.write(f"breaks: {breaks}\n")
    sys.stderr.flush()
    if breaks == "lose":
        raise DatabaseAwayError("the answer was lost")
    if breaks == "hang":
        re.match("(a+)+$", "a" * 60 + "b")
    if breaks != "mute":
        os.kill(os.getpid(), signal.SIGKILL if breaks == "kill" else signal.SIGSTOP)


if __name__ == "__main__":
    name, visit, break_mode = sys.argv[1].split(":")
    sys.argv = ["headrace", *sys.argv[2:]]
    arm(POINTS[name], int(visit), cast(BreakMode, break_mode))
    if break_mode == "hold":
        SESSION["idle_in_transaction_session_timeout"] = "0"
    from headrace.cli.main import main

    main()
