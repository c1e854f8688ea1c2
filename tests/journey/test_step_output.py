"""`print` and `logging` of steps reach the worker's log and that of their job, with job, step and attempt."""

import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.adapters.logs import add_running_job, configure_logging
from headrace.settings import Settings
from headrace.workers.step_output import captured_output
from support.harness import serving, working

FLOWS = Path(__file__).parent / "flows" / "printing_flows.py"


async def run_job(
    settings: Settings, pipeline: str, step_log_level: str = "info"
) -> tuple[dict[str, Any], list[Any]]:
    """Run a job as a worker process does, and return it with its log events."""
    level: Any = step_log_level
    talkative = msgspec.structs.replace(settings, pipelines=(str(FLOWS),), step_log_level=level)
    async with serving(talkative) as service:
        with captured_output(step_log_level):
            async with working(talkative):
                job = await service.submit(pipeline, params={})
                frames = await service.watch(job["id"])
    return job, [frame for frame in frames if frame["type"] == "log"]


async def test_what_steps_print_and_log_is_in_their_jobs_log(settings: Settings) -> None:
    with capture_logs(processors=[add_running_job]) as lines:
        job, logs = await run_job(settings, "speakers")

    for kind in ("loop", "thread", "process"):
        of_step = [log for log in logs if log["step"] == f"speak_in_{kind}"]
        assert [(log["level"], log["message"]) for log in of_step] == [
            ("info", f"printed in a {kind}"),
            ("info", f"an error in a {kind}"),
            ("warning", f"logged in a {kind}"),
            ("info", "100 %"),
        ]
        assert of_step[2]["fields"]["logger"] == "acme.reports"
    printed = [line for line in lines if line["event"] in ("printed in a loop", "printed in a thread")]
    assert [(line["job_id"], line["step"], line["stream"]) for line in printed] == [
        (job["id"], "speak_in_loop", "stdout"),
        (job["id"], "speak_in_thread", "stdout"),
    ]
    assert all(line["attempt"] >= 1 for line in printed)


async def test_lines_in_the_log_of_a_process_name_job_step_and_attempt(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", as_json=False)
    job, _ = await run_job(settings, "speakers")

    lines = capfd.readouterr().err.splitlines()
    for kind, text in (
        ("process", "printed in a process"),
        ("process", "an error in a process"),
        ("process", "logged in a process"),
        ("thread", "logged in a thread"),
    ):
        (line,) = [line for line in lines if text in line]
        # A job whose next step finds no free process goes on in another attempt.
        names = re.sub(r"attempt=\d+", "attempt=N", line).split()
        assert {f"job_id={job['id']}", f"step=speak_in_{kind}", "attempt=N"} <= set(names), line


async def test_the_setting_decides_what_is_in_the_jobs_log(settings: Settings) -> None:
    before = logging.getLogger().level

    _, warnings = await run_job(settings, "speakers", "warning")
    _, none = await run_job(settings, "speakers", "off")
    _, everything = await run_job(settings, "speakers", "debug")

    assert {log["level"] for log in warnings} == {"warning"}
    assert none == []
    assert "too detailed in a process" in [log["message"] for log in everything]
    assert logging.getLogger().level == before


async def test_a_coroutine_step_that_floods_its_output_is_not_held_up(settings: Settings) -> None:
    _, logs = await run_job(settings, "flooding")

    assert logs[0]["message"] == "line 0"
    assert logs[-1]["message"] == "200 more log messages were dropped"
    assert len(logs) == 1_001
