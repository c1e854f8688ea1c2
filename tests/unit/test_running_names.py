"""Log lines name the job, the attempt, the step and the trace of their context."""

from contextvars import copy_context
from uuid import UUID

import pytest

from headrace.adapters.logs import RUNNING_JOB, RUNNING_STEP, RUNNING_TRACE, RunningJob, add_running_job

JOB = RunningJob(UUID(int=1), "from-me", 2)
OF_JOB = {"job_id": str(UUID(int=1)), "request_id": "from-me", "attempt": 2}


def names(job: RunningJob | None, step: str | None, trace_id: str | None) -> dict[str, object]:
    RUNNING_JOB.set(job)
    RUNNING_STEP.set(step)
    RUNNING_TRACE.set(trace_id)
    return dict(add_running_job(None, "info", {"event": "said"}))


@pytest.mark.parametrize(
    ("job", "step", "trace_id", "expected"),
    [
        (None, None, None, {}),
        (None, None, "abc", {"trace_id": "abc"}),
        (JOB, None, None, OF_JOB),
        (JOB, "render[1]", "abc", OF_JOB | {"step": "render[1]", "trace_id": "abc"}),
    ],
)
def test_a_line_names_what_its_context_works_on(
    job: RunningJob | None, step: str | None, trace_id: str | None, expected: dict[str, object]
) -> None:
    assert copy_context().run(names, job, step, trace_id) == {**expected, "event": "said"}


def test_what_a_line_says_itself_counts() -> None:
    def line() -> dict[str, object]:
        RUNNING_JOB.set(JOB)
        return dict(add_running_job(None, "info", {"event": "said", "attempt": 7}))

    assert copy_context().run(line)["attempt"] == 7
