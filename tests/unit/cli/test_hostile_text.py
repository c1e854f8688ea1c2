"""Text of users stays on its line and does not drive the terminal, wherever a command prints it."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from rich.console import Console, RenderableType

from headrace.adapters.servers import Finding
from headrace.cli import doctor_screen
from headrace.cli.errors import RefusedError
from headrace.cli.job_view import JobViewModel
from headrace.cli.live_renderer import LiveRenderer, render_line
from headrace.cli.resource_tables import event_line, keys_table, presets_table, tags_table
from headrace.cli.tables import error_text, files_table, pipelines_table, short, show_job, steps_table
from headrace.cli.text import one_line, safe_lines
from headrace.cli.up_screen import UpScreen

HOSTILE: Final = "a\nb\r\x1b[2J\x1b]0;title\x07\x9b31m\x85\u2028\u202e\u200f\ufeff\tz\n"
ESCAPED: Final = r"a\nb\r\x1b[2J\x1b]0;title\x07\x9b31m\x85\u2028\u202e\u200f\ufeff z"
JOB: Final = "01a1fcda-1222-71e3-b3dd-702451ba443d"
AT: Final = "2030-01-01T12:00:00+00:00"
NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)

STEP: Final = {"name": "work", "index": None, "state": "running", "progress": 0.5, "message": HOSTILE} | {
    "error": None,
    "started_at": AT,
    "finished_at": None,
}
FILE: Final = {"name": HOSTILE, "size": 1, "media_type": HOSTILE, "id": JOB}
ERROR: Final = {"code": "failed", "step": "work", "message": HOSTILE}
TAGGED: Final = {"id": JOB, "tags": [HOSTILE], "pipeline": "ticks", "params": {HOSTILE: HOSTILE}}
KEY: Final[dict[str, Any]] = {
    "name": HOSTILE,
    "prefix": "hr_",
    "scopes": [],
    "last_used_at": None,
    "expires_at": None,
}
PIPELINE: Final = {
    "name": "ticks",
    "version": 1,
    "served": True,
    "params_schema": {"properties": {HOSTILE: {}}},
    "description": "Counts.",
}
SHOWN: Final = TAGGED | {
    "version": 1,
    "state": "failed",
    "progress": 1.0,
    "attempt": 1,
    "event_seq": 3,
    "created_at": AT,
    "started_at": None,
    "finished_at": None,
    "error": ERROR,
    "result": HOSTILE,
}


def log_event(**changes: Any) -> dict[str, Any]:
    event = {"type": "log", "job_id": JOB, "seq": 3, "at": AT, "step": "work", "level": "info"}
    return event | {"message": HOSTILE, "fields": {"field": HOSTILE, HOSTILE: 1}} | changes


def printed(print_to: Callable[[Console], None]) -> str:
    output = io.StringIO()
    print_to(Console(file=output, width=1_000, highlight=False))
    return output.getvalue()


def rows(renderable: RenderableType) -> str:
    return printed(lambda console: console.print(renderable, soft_wrap=True))


def watched() -> RenderableType:
    view = JobViewModel(JOB)
    progress = {"done": 1, "total": 2, "message": HOSTILE}
    view.apply({"type": "progress", "head": 1, "fraction": 0.5, "steps": {"work": progress}})
    renderer = LiveRenderer(view, Console(file=io.StringIO(), width=1_000, height=40), {})
    renderer.connection_error = HOSTILE
    return renderer.__rich__()


def lines_of(*frames: dict[str, Any]) -> str:
    view = JobViewModel(JOB)
    return "".join(rows(render_line(line)) for frame in frames for line in view.apply(frame))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (rows(event_line(log_event())), 1),
        (rows(event_line(log_event(type="job.failed", error=ERROR))), 1),
        (rows(presets_table([TAGGED | {"title": HOSTILE}])), 2),
        (rows(tags_table([{"id": JOB, "name": HOSTILE, "jobs": 1, "presets": 1}])), 2),
        (rows(keys_table([KEY | {"id": JOB}])), 2),
        (rows(pipelines_table([PIPELINE])), 2),
        (rows(pipelines_table([PIPELINE | {"description": HOSTILE}])), 2),
        (rows(steps_table([STEP], NOW)), 2),
        (rows(steps_table([STEP | {"error": ERROR}], NOW)), 2),
        (rows(files_table([FILE])), 2),
        (rows(error_text(ERROR)), 1),
        (rows(short({"value": HOSTILE})), 1),
        (lines_of(log_event()), 1),
        (lines_of({"type": "file.created", "at": AT, "file": FILE}), 1),
        (lines_of({"type": "step.failed", "at": AT, "step": "work", "index": None, "error": ERROR}), 1),
        (rows(watched()), 4),
        (printed(lambda console: show_job(console, SHOWN, [STEP], [FILE], NOW)), 17),
        (printed(lambda console: UpScreen(console).report("worker 1", HOSTILE)), 1),
        (printed(lambda console: doctor_screen.show(console, [Finding("pipelines", False, HOSTILE)])), 3),
        (safe_lines(str(RefusedError(HOSTILE, 422, "code", [(HOSTILE, f"x{HOSTILE}")]))) + "\n", 2),
    ],
)
def test_text_of_users_is_printed_on_its_line(text: str, lines: int) -> None:
    assert "\\x9b31m" in text
    assert text.count("\n") == lines
    printable = text.replace("\n", "")
    assert one_line(printable) == printable.rstrip(), "it holds control characters"


def test_control_characters_become_escapes_and_letters_stay() -> None:
    assert one_line(HOSTILE) == ESCAPED
    assert one_line("  Käse 🧀 שלום \\n") == "  Käse 🧀 שלום \\n"
    assert safe_lines("a\x07\n  b\x07") == "a\\x07\n  b\\x07"
