"""The state of a watched job, built from frames written by hand."""

from typing import Any

from headrace.cli.job_view import JobViewModel
from headrace.cli.text import format_size

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "job_id": JOB, "seq": 1, "at": "2026-01-01T12:00:00Z", **fields}


def step(kind: str, name: str, index: int | None = None, **fields: Any) -> dict[str, Any]:
    return event(f"step.{kind}", step=name, index=index, attempt=1, **fields)


def progress(fraction: float, **steps: tuple[float, float]) -> dict[str, Any]:
    counts = {
        key.replace("_", "[") + ("]" if "_" in key else ""): {"done": done, "total": total, "message": None}
        for key, (done, total) in steps.items()
    }
    return {"type": "progress", "head": 1, "attempt": 1, "fence": 1, "fraction": fraction, "steps": counts}


def test_a_step_goes_from_waiting_through_running_to_succeeded() -> None:
    view = JobViewModel(JOB)
    view.add_steps(["load"])
    states = [view.steps["load"].state]

    for frame in (step("started", "load"), step("succeeded", "load", took_ms=12)):
        view.apply(frame)
        states.append(view.steps["load"].state)

    assert states == ["waiting", "running", "succeeded"]
    assert view.steps["load"].took_ms == 12


def test_items_replace_their_step_in_index_order() -> None:
    view = JobViewModel(JOB)
    view.add_steps(["load", "render", "join"])

    for index in (2, 10, 0):
        view.apply(step("started", "render", index))

    assert list(view.steps) == ["load", "render[0]", "render[2]", "render[10]", "join"]


def test_many_items_share_one_bar() -> None:
    view = JobViewModel(JOB)
    view.add_steps(["load", "render", "save"])

    for index in range(150):
        view.apply(step("started", "render", index))
    view.apply(progress(0.2, render=(75, 150)))
    view.apply(step("started", "render", 3))
    half = view.steps["render"].fraction
    view.apply(progress(0.9, render=(150, 150)))

    assert list(view.steps) == ["load", "render", "save"]
    assert (half, view.steps["render"].state) == (0.5, "succeeded")


def test_a_total_for_all_items_replaces_the_known_items() -> None:
    view = JobViewModel(JOB)
    view.add_steps(["render", "save"])
    view.apply(step("started", "render", 3))

    view.apply(progress(0.2, render=(1, 4)))

    assert list(view.steps) == ["render", "save"]
    assert view.steps["render"].fraction == 0.25


def test_progress_moves_the_bars_of_the_job_and_of_its_items() -> None:
    view = JobViewModel(JOB)
    view.apply(step("started", "render", 0))

    view.apply(progress(0.25, render_0=(1, 2)))

    assert view.fraction == 0.25
    assert view.steps["render[0]"].fraction == 0.5


def test_late_progress_does_not_restart_a_finished_step() -> None:
    view = JobViewModel(JOB)
    view.apply(step("succeeded", "load", took_ms=1))

    view.apply(progress(0.5, load=(1, 2)))

    assert (view.steps["load"].state, view.steps["load"].fraction) == ("succeeded", 1.0)


def test_progress_with_a_total_of_zero_does_not_divide_by_zero() -> None:
    view = JobViewModel(JOB)

    view.apply(progress(0.0, load=(3, 0)))

    assert view.steps["load"].fraction == 0.0


def test_a_failed_try_shows_its_error_and_whether_it_is_retried() -> None:
    view = JobViewModel(JOB)
    error = {"code": "step_failed", "message": "no luck", "step": "load"}

    again = view.apply(step("failed", "load", error=error, retry_at="2026-01-01T12:00:01Z"))
    last = view.apply(step("failed", "load", error=error, retry_at=None))

    assert [line.text for line in (*again, *last)] == [
        "load failed: no luck (step_failed); it is retried",
        "load failed: no luck (step_failed)",
    ]
    assert view.steps["load"].state == "failed"


def test_a_lost_attempt_resets_running_steps_and_keeps_finished_ones() -> None:
    view = JobViewModel(JOB)
    view.apply(step("succeeded", "load", took_ms=1))
    view.apply(step("started", "render", 0))

    lines = view.apply(event("attempt.lost", attempt=1))
    view.apply(event("job.requeued", reason="worker_lost", run_at="2026-01-01T12:00:00Z"))

    assert lines[0].kind == "trouble"
    assert [line.state for line in view.steps.values()] == ["succeeded", "waiting"]
    assert view.state == "queued"


def test_a_retried_job_no_longer_has_an_error() -> None:
    view = JobViewModel(JOB)
    view.apply(event("job.failed", error={"code": "step_failed", "message": "no", "step": None}))

    view.apply(event("job.retried"))

    assert (view.state, view.error) == ("queued", None)


def test_logs_and_files_become_lines() -> None:
    view = JobViewModel(JOB)

    (log,) = view.apply(event("log", level="warning", message="hot", fields={"degrees": 90}, step="load"))
    (file,) = view.apply(event("file.created", file={"name": "a.wav", "size": 1_500_000}))

    assert (log.kind, log.level, log.text) == ("log", "warning", "load: hot degrees=90")
    assert (file.kind, file.text) == ("file", "a.wav (1.5 MB)")


def test_control_characters_in_a_log_message_are_escaped() -> None:
    view = JobViewModel(JOB)

    (log,) = view.apply(event("log", level="info", message="\x1b[2Jgone\r\x07", fields={}, step=None))

    assert log.text == r"\x1b[2Jgone\r\x07"


def test_an_ended_job_shows_its_state_and_a_full_bar_only_on_success() -> None:
    ends = {}
    for state in ("succeeded", "cancelled"):
        view = JobViewModel(JOB)
        view.apply(progress(0.4))
        view.apply({"type": "end", "state": state})
        ends[view.end] = view.fraction

    assert ends == {"succeeded": 1.0, "cancelled": 0.4}


def test_frames_of_later_versions_are_ignored() -> None:
    view = JobViewModel(JOB)

    lines = [*view.apply({"type": "weather"}), *view.apply(event("job.painted")), *view.apply({})]

    assert lines == []


def test_sizes_are_formatted_in_a_suitable_unit() -> None:
    assert [format_size(count) for count in (0, 999, 1000, 250_000, 3_498_966, 5_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "250 kB",
        "3.5 MB",
        "5.0 GB",
    ]
