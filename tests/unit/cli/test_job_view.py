"""What a watcher knows of a job, folded from frames written by hand."""

from typing import Any

from headrace.cli.job_view import JobViewModel
from headrace.cli.text import size_of

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "job_id": JOB, "seq": 1, "at": "2026-01-01T12:00:00Z", **fields}


def step(kind: str, name: str, index: int | None = None, **fields: Any) -> dict[str, Any]:
    return event(f"step.{kind}", step=name, index=index, attempt=1, **fields)


def progress(fraction: float, **steps: tuple[float, float]) -> dict[str, Any]:
    told = {
        key.replace("_", "[") + ("]" if "_" in key else ""): {"done": done, "total": total, "message": None}
        for key, (done, total) in steps.items()
    }
    return {"type": "progress", "head": 1, "attempt": 1, "fence": 1, "fraction": fraction, "steps": told}


def test_a_step_goes_from_waiting_over_running_to_succeeded() -> None:
    picture = JobViewModel(JOB)
    picture.expect(["load"])
    states = [picture.steps["load"].state]

    for frame in (step("started", "load"), step("succeeded", "load", took_ms=12)):
        picture.apply(frame)
        states.append(picture.steps["load"].state)

    assert states == ["waiting", "running", "succeeded"]
    assert picture.steps["load"].took_ms == 12


def test_items_take_the_place_of_their_step_in_their_own_order() -> None:
    picture = JobViewModel(JOB)
    picture.expect(["load", "render", "join"])

    for index in (2, 10, 0):
        picture.apply(step("started", "render", index))

    assert list(picture.steps) == ["load", "render[0]", "render[2]", "render[10]", "join"]


def test_many_items_have_one_bar() -> None:
    picture = JobViewModel(JOB)
    picture.expect(["load", "render", "save"])

    for index in range(150):
        picture.apply(step("started", "render", index))
    picture.apply(progress(0.2, render=(75, 150)))
    picture.apply(step("started", "render", 3))
    half = picture.steps["render"].fraction
    picture.apply(progress(0.9, render=(150, 150)))

    assert list(picture.steps) == ["load", "render", "save"]
    assert (half, picture.steps["render"].state) == (0.5, "succeeded")


def test_a_sum_takes_the_place_of_the_items_that_are_known() -> None:
    picture = JobViewModel(JOB)
    picture.expect(["render", "save"])
    picture.apply(step("started", "render", 3))

    picture.apply(progress(0.2, render=(1, 4)))

    assert list(picture.steps) == ["render", "save"]
    assert picture.steps["render"].fraction == 0.25


def test_progress_moves_the_bars_of_the_job_and_of_its_items() -> None:
    picture = JobViewModel(JOB)
    picture.apply(step("started", "render", 0))

    picture.apply(progress(0.25, render_0=(1, 2)))

    assert picture.fraction == 0.25
    assert picture.steps["render[0]"].fraction == 0.5


def test_a_finished_step_does_not_run_again_because_of_late_progress() -> None:
    picture = JobViewModel(JOB)
    picture.apply(step("succeeded", "load", took_ms=1))

    picture.apply(progress(0.5, load=(1, 2)))

    assert (picture.steps["load"].state, picture.steps["load"].fraction) == ("succeeded", 1.0)


def test_progress_out_of_nothing_is_no_division_by_zero() -> None:
    picture = JobViewModel(JOB)

    picture.apply(progress(0.0, load=(3, 0)))

    assert picture.steps["load"].fraction == 0.0


def test_a_failed_try_says_why_and_whether_there_is_another() -> None:
    picture = JobViewModel(JOB)
    error = {"code": "step_failed", "message": "no luck", "step": "load"}

    again = picture.apply(step("failed", "load", error=error, retry_at="2026-01-01T12:00:01Z"))
    last = picture.apply(step("failed", "load", error=error, retry_at=None))

    assert [line.text for line in (*again, *last)] == [
        "load failed: no luck (step_failed); it is tried again",
        "load failed: no luck (step_failed)",
    ]
    assert picture.steps["load"].state == "failed"


def test_a_lost_attempt_puts_its_running_steps_back_and_keeps_the_finished() -> None:
    picture = JobViewModel(JOB)
    picture.apply(step("succeeded", "load", took_ms=1))
    picture.apply(step("started", "render", 0))

    told = picture.apply(event("attempt.lost", attempt=1))
    picture.apply(event("job.requeued", reason="worker_lost", run_at="2026-01-01T12:00:00Z"))

    assert told[0].kind == "trouble"
    assert [one.state for one in picture.steps.values()] == ["succeeded", "waiting"]
    assert picture.state == "queued"


def test_a_retried_job_has_no_error_any_more() -> None:
    picture = JobViewModel(JOB)
    picture.apply(event("job.failed", error={"code": "step_failed", "message": "no", "step": None}))

    picture.apply(event("job.retried"))

    assert (picture.state, picture.error) == ("queued", None)


def test_logs_and_files_become_lines() -> None:
    picture = JobViewModel(JOB)

    (log,) = picture.apply(event("log", level="warning", message="hot", fields={"degrees": 90}, step="load"))
    (file,) = picture.apply(event("file.created", file={"name": "a.wav", "size": 1_500_000}))

    assert (log.kind, log.level, log.text) == ("log", "warning", "load: hot degrees=90")
    assert (file.kind, file.text) == ("file", "a.wav (1.5 MB)")


def test_a_log_cannot_give_orders_to_the_terminal() -> None:
    picture = JobViewModel(JOB)

    (log,) = picture.apply(event("log", level="info", message="\x1b[2Jgone\r\x07", fields={}, step=None))

    assert log.text == "�[2Jgone��"


def test_the_end_is_the_state_and_a_full_bar_only_for_success() -> None:
    ends = {}
    for state in ("succeeded", "cancelled"):
        picture = JobViewModel(JOB)
        picture.apply(progress(0.4))
        picture.apply({"type": "end", "state": state})
        ends[picture.end] = picture.fraction

    assert ends == {"succeeded": 1.0, "cancelled": 0.4}


def test_frames_of_later_versions_change_nothing() -> None:
    picture = JobViewModel(JOB)

    said = [*picture.apply({"type": "weather"}), *picture.apply(event("job.painted")), *picture.apply({})]

    assert said == []


def test_sizes_are_read_in_the_unit_that_fits() -> None:
    assert [size_of(count) for count in (0, 999, 1000, 250_000, 3_498_966, 5_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "250 kB",
        "3.5 MB",
        "5.0 GB",
    ]
