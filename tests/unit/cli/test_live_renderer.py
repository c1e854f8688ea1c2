"""The progress bars, rendered into a string."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from headrace.cli.job_view import JobViewModel
from headrace.cli.live_renderer import LiveRenderer, visible_steps
from headrace.cli.step_lines import StepLine
from headrace.cli.times import format_age, format_duration, format_eta

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def drawn(view: JobViewModel, *, width: int = 100, height: int = 30, away: str | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    renderer = LiveRenderer(view, console, {"render[0]": "render Clean"})
    renderer.connection_error = away
    with console.capture() as capture:
        console.print(renderer)
    return capture.get().splitlines()


def test_each_step_has_a_line_with_its_own_name_or_the_readers() -> None:
    view = JobViewModel("the-id", pipeline="shootout", state="running", fraction=0.5)
    view.add_steps(["load", "render[0]"])
    view.steps["load"] = StepLine("load", "succeeded", 1.0, took_ms=1500)
    view.steps["render[0]"] = StepLine("render[0]", "running", 0.25, "block 2 of 5")

    title, job, load, render = drawn(view)

    assert title == "shootout the-id running"
    assert job.split()[-1] == "50%"
    assert load.startswith("✓ load")
    assert "1.5 s" in load
    assert "render Clean" in render
    assert render.rstrip().endswith("25% block 2 of 5")


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    view = JobViewModel("01a1fcda", pipeline="ticks", state="running")
    view.steps["a"] = StepLine("a" * 40, "running", 0.5, "a long message " * 20)

    lines = drawn(view, width=width)

    assert max(map(len, lines)) <= width


def test_many_steps_never_fill_more_than_the_screen() -> None:
    view = JobViewModel("the-id", state="running")
    view.add_steps(f"tick[{index}]" for index in range(100))

    lines = drawn(view, height=12)

    assert len(lines) <= 11
    assert lines[-1] == "  and 93 more that are waiting or done"


def test_running_and_failed_steps_are_seen_before_others() -> None:
    steps = [
        StepLine("a", "succeeded"),
        StepLine("b", "waiting"),
        StepLine("c", "failed"),
        StepLine("d", "running"),
    ]

    assert [step.key for step in visible_steps(steps, 3)] == ["b", "c", "d"]


def test_a_lost_connection_is_said_below_the_bars() -> None:
    view = JobViewModel("the-id", state="running")

    assert drawn(view, away="the connection was lost")[-1] == "the connection was lost; reconnecting ..."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0042, "4 ms"),
        (1.26, "1.3 s"),
        (59.9, "59.9 s"),
        (61, "1 min 1 s"),
        (7380, "2 h 3 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_read_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "just now"), (5, "5 s ago"), (200, "3 min ago"), (-90, "in 1 min"), (99_999, "1 d ago")],
)
def test_moments_are_told_from_now(seconds: float, text: str) -> None:
    assert format_age(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.2, 0.4, "about 1 s left"), (2.6, 7.4, "3 s to 7 s left"), (50, 130, "50 s to 2 min 10 s left")],
)
def test_what_is_left_is_told_as_far_as_it_is_known(low: float, high: float, text: str) -> None:
    assert format_eta(low, high) == text


def test_the_job_says_how_long_it_still_takes() -> None:
    view = JobViewModel("0")
    frame = {"type": "progress", "fraction": 0.5, "steps": {}, "eta": {"low_seconds": 3, "high_seconds": 9}}

    view.apply(frame)
    before = drawn(view)
    view.apply({"type": "end", "state": "succeeded"})

    assert "3 s to 9 s left" in "\n".join(before)
    assert "left" not in "\n".join(drawn(view))
