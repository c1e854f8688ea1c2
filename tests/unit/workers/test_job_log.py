"""The worker's lines about its jobs: one for a start, one for an end, and counts when there are too many."""

import asyncio

import pytest
from structlog.testing import capture_logs

from headrace.workers import job_log
from headrace.workers.job_log import JOBS_PER_SECOND, Allowance, JobLog
from support.worker_builders import Clock, new_claim


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "time", Clock(100.0))


def run_attempts(log: JobLog, count: int, state: str = "succeeded", code: str | None = None) -> None:
    for _ in range(count):
        log.on_end(new_claim(), state, code, is_logged=log.on_start(new_claim()))


async def test_an_attempt_has_a_line_for_its_start_and_one_for_its_end() -> None:
    with capture_logs() as lines:
        run_attempts(JobLog("info"), 1, "failed", "step_failed")

    claim = new_claim()
    started, ended = lines
    assert (started["event"], ended["event"]) == ("job_started", "job_ended")
    assert started["pipeline"] == f"{claim.pipeline}@{claim.version}"
    assert (started["state"], started["attempt"]) == ("running", claim.attempt)
    assert (ended["state"], ended["error_code"]) == ("failed", "step_failed")
    assert ended["seconds"] >= 0


async def test_more_attempts_than_have_lines_are_counted_by_state() -> None:
    log = JobLog("info")

    with capture_logs() as lines:
        run_attempts(log, JOBS_PER_SECOND + 30)
        run_attempts(log, 2, "cancelled")
        log.flush()
        log.flush()

    assert len([line for line in lines if line["event"] == "job_ended"]) == JOBS_PER_SECOND
    (summary,) = [line for line in lines if line["event"] == "jobs_ended"]
    assert (summary["succeeded"], summary["cancelled"]) == (30, 2)
    assert log.totals == {"succeeded": JOBS_PER_SECOND + 30, "cancelled": 2}


async def test_failures_have_lines_beside_many_other_jobs() -> None:
    log = JobLog("info")

    with capture_logs() as lines:
        run_attempts(log, JOBS_PER_SECOND)
        run_attempts(log, JOBS_PER_SECOND + 1, "failed", "step_failed")
        log.flush()

    failed = [line for line in lines if line.get("state") == "failed"]
    assert len(failed) == JOBS_PER_SECOND
    assert lines[-1]["failed"] == 1


async def test_the_counts_are_logged_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "_SUMMARY_SECONDS", 0.0)
    log = JobLog("info")

    with capture_logs() as lines:
        run_attempts(log, JOBS_PER_SECOND + 1)
        await asyncio.sleep(0.01)

    assert lines[-1]["event"] == "jobs_ended"


async def test_at_level_debug_every_attempt_has_its_lines_and_at_level_warning_none() -> None:
    with capture_logs() as lines:
        run_attempts(JobLog("debug"), 3 * JOBS_PER_SECOND)
        run_attempts(JobLog("warning"), 3)

    assert len(lines) == 6 * JOBS_PER_SECOND


def test_an_allowance_is_refilled_each_second() -> None:
    allowance = Allowance(2)

    taken = [allowance.take(now) for now in (10.0, 10.1, 10.2, 11.0, 11.1, 11.2)]

    assert taken == [True, True, False, True, True, False]
