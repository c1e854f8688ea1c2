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


def rendered_lines(
    view: JobViewModel, *, width: int = 100, height: int = 30, connection_error: str | None = None
) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    renderer = LiveRenderer(view, console, {"render[0]": "render Clean"})
    renderer.connection_error = connection_error
    with console.capture() as capture:
        console.print(renderer)
    return capture.get().splitlines()


def test_each_step_has_a_line_with_its_key_or_its_custom_label() -> None:
    view = JobViewModel("the-id", pipeline="shootout", state="running", fraction=0.5)
    view.add_steps(["load", "render[0]"])
    view.steps["load"] = StepLine("load", "succeeded", 1.0, took_ms=1500)
    view.steps["render[0]"] = StepLine("render[0]", "running", 0.25, "block 2 of 5")

    title, job, load, render = rendered_lines(view)

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

    lines = rendered_lines(view, width=width)

    assert max(map(len, lines)) <= width


def test_many_steps_fit_on_the_screen() -> None:
    view = JobViewModel("the-id", state="running")
    view.add_steps(f"tick[{index}]" for index in range(100))

    lines = rendered_lines(view, height=12)

    assert len(lines) <= 11
    assert lines[-1] == "  and 93 more that are waiting or done"


def test_running_and_failed_steps_are_preferred_to_others() -> None:
    steps = [
        StepLine("a", "succeeded"),
        StepLine("b", "waiting"),
        StepLine("c", "failed"),
        StepLine("d", "running"),
    ]

    assert [step.key for step in visible_steps(steps, 3)] == ["b", "c", "d"]


def test_a_lost_connection_is_shown_below_the_bars() -> None:
    view = JobViewModel("the-id", state="running")

    assert (
        rendered_lines(view, connection_error="the connection was lost")[-1]
        == "the connection was lost; reconnecting ..."
    )


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
def test_durations_are_formatted_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "just now"), (5, "5 s ago"), (200, "3 min ago"), (-90, "in 1 min"), (99_999, "1 d ago")],
)
def test_times_are_formatted_relative_to_now(seconds: float, text: str) -> None:
    assert format_age(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.2, 0.4, "about 1 s left"), (2.6, 7.4, "3 s to 7 s left"), (50, 130, "50 s to 2 min 10 s left")],
)
def test_the_remaining_time_is_formatted_as_a_range_or_one_value(low: float, high: float, text: str) -> None:
    assert format_eta(low, high) == text


def test_the_remaining_time_is_shown_until_the_job_ends() -> None:
    view = JobViewModel("0")
    frame = {"type": "progress", "fraction": 0.5, "steps": {}, "eta": {"low_seconds": 3, "high_seconds": 9}}

    view.apply(frame)
    before = rendered_lines(view)
    view.apply({"type": "end", "state": "succeeded"})

    assert "3 s to 9 s left" in "\n".join(before)
    assert "left" not in "\n".join(rendered_lines(view))
