"""The lines of `watch` without a terminal."""

from io import StringIO
from typing import Any

import msgspec
from rich.console import Console

from headrace.cli.job_view import JobViewModel
from headrace.cli.job_watch import ReceivedFrame
from headrace.cli.watch_screen import PlainScreen

JOB = {
    "pipeline": "ticks",
    "state": "running",
    "attempt": 1,
    "waiting_for": None,
    "result": None,
    "error": None,
    "progress": 0.0,
}
AT = {"at": "2026-11-21T06:30:00Z"}


def hello(head: int, **job: Any) -> dict[str, Any]:
    return {"type": "hello", "head": head, "job": JOB | job}


def progress(fraction: float, head: int = 0) -> dict[str, Any]:
    return {"type": "progress", "head": head, "fraction": fraction, "steps": {}}


def started(seq: int) -> dict[str, Any]:
    return {"type": "step.started", "seq": seq, "step": "tick", "index": None, "attempt": 1, **AT}


def lines(*frames: dict[str, Any], after: int = 0) -> list[str]:
    """Return what the screen prints for these frames, without the times."""
    output = StringIO()
    view = JobViewModel("job")
    screen = PlainScreen(view, Console(file=output, width=200), after)
    for frame in frames:
        screen.show(ReceivedFrame(msgspec.json.encode(frame), frame))
    return [line.partition("→ ")[2] for line in output.getvalue().splitlines()]


def test_progress_waits_for_the_events_that_are_older_than_the_connection() -> None:
    printed = lines(
        hello(2), progress(0.5, head=1), started(1), progress(0.6, head=2), started(2), progress(0.8)
    )

    assert printed == ["tick started", "tick started", "60% done", "80% done"]


def test_progress_waits_for_no_event_that_the_watch_leaves_out() -> None:
    assert lines(hello(2), progress(0.5, head=2), after=2) == ["50% done"]


def test_a_waiting_job_gets_a_line_with_each_new_reason() -> None:
    waiting = [hello(0, state="queued", waiting_for=reason) for reason in ("no_worker", "no_worker", None)]

    assert lines(*waiting) == [
        "queued: no live worker serves it; start one with: headrace worker",
        "queued",
    ]
