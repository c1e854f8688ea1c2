"""The checker finds every planted fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.checker import assert_kept, violations
from faults.load import Load
from faults.records import Entry, EventRecord, JobRecord, StepRecord
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving, working

JOB = "0190a000-0000-7000-8000-000000000001"


def sound() -> JobRecord:
    """Return the record of a job that was lost once after its first step, and then succeeded."""
    log: list[tuple[str, dict[str, Any]]] = [
        ("job.queued", {}),
        ("job.started", {"attempt": 1}),
        ("step.started", {"step": "a", "attempt": 1}),
        ("step.succeeded", {"step": "a", "attempt": 1}),
        ("attempt.lost", {"attempt": 1, "blamed": True}),
        ("job.requeued", {"reason": "worker_lost"}),
        ("job.started", {"attempt": 2}),
        ("step.started", {"step": "b", "index": 0, "attempt": 2}),
        ("step.failed", {"step": "b", "index": 0, "attempt": 2}),
        ("step.started", {"step": "b", "index": 0, "attempt": 2}),
        ("step.succeeded", {"step": "b", "index": 0, "attempt": 2}),
        ("job.succeeded", {"result": 7}),
    ]
    return JobRecord(
        id=JOB,
        state="succeeded",
        attempt=2,
        fence=2,
        losses=1,
        event_seq=12,
        progress=1.0,
        result=7,
        allowed={"a": 1, "b": 2},
        events=[EventRecord(seq, kind, body) for seq, (kind, body) in enumerate(log, start=1)],
        steps=[
            StepRecord(key="a", name="a", state="succeeded"),
            StepRecord(key="b[0]", name="b", state="succeeded", tries=1),
        ],
        entries=[Entry("a", 1), Entry("b[0]", 2), Entry("b[0]", 2)],
    )


def append_event(job: JobRecord, kind: str, **body: object) -> None:
    job.event_seq += 1
    job.events.append(EventRecord(job.event_seq, kind, body))


def replace(job: JobRecord, seq: int, kind: str, **body: object) -> None:
    job.events[seq - 1] = EventRecord(seq, kind, body)


def lose_five_times(job: JobRecord) -> None:
    job.losses = 5
    job.events[4:4] = [EventRecord(0, "attempt.lost", {"attempt": 1, "blamed": True})] * 4


PLANTED: dict[str, tuple[Callable[[JobRecord], object], str]] = {
    "a hole": (lambda job: job.events.pop(3), "numbered"),
    "a head that is ahead": (lambda job: setattr(job, "event_seq", 13), "its head is 13"),
    "a cancel after the end": (lambda job: append_event(job, "job.cancelled"), "job.cancelled (event 13)"),
    "an event after the end": (lambda job: append_event(job, "log"), "log (event 13) while succeeded"),
    "a second end": (lambda job: append_event(job, "job.succeeded", result=8), "2 results"),
    "a retry of what succeeded": (lambda job: append_event(job, "job.retried"), "job.retried (event 13)"),
    "a start while running": (lambda job: replace(job, 6, "log"), "job.started (event 7) while running"),
    "a row that differs": (lambda job: setattr(job, "state", "failed"), "its row failed"),
    "another result": (lambda job: setattr(job, "result", 8), "another result"),
    "a success short of the end": (lambda job: setattr(job, "progress", 0.97), "97%"),
    "a skipped attempt": (lambda job: replace(job, 7, "job.started", attempt=3), "attempts are [1, 3]"),
    "a fence that is ahead": (lambda job: setattr(job, "fence", 3), "with fence 3"),
    "a late write": (lambda job: replace(job, 9, "step.started", step="b", attempt=1), "attempt 1 wrote"),
    "a loss that nobody counted": (lambda job: setattr(job, "losses", 0), "1 losses in its log"),
    "a job lost too often that lives": (lose_five_times, "after 5 losses"),
    "a try too many": (lambda job: setattr(job, "allowed", {"a": 1, "b": 0}), "b[0]: 1 failures"),
    "a try that is not counted": (lambda job: job.steps.pop(), "its rows ['a']"),
    "a step done twice": (lambda job: replace(job, 8, "step.succeeded", step="a", attempt=2), "a: step.succ"),
    "a step begun again": (lambda job: replace(job, 8, "step.started", step="a", attempt=2), "a: step.start"),
    "a success without a start": (lambda job: replace(job, 3, "log"), "without a start: ['a']"),
    "a finished step entered": (lambda job: job.entries.append(Entry("a", 2)), "entered in attempt 2"),
    "a double run": (lambda job: job.entries.append(Entry("a", 1)), "entered 2 times in attempt 1"),
    "a step that was never run": (lambda job: job.entries.pop(0), "without being entered"),
}


def test_a_sound_history_has_no_violations() -> None:
    assert violations([JOB], {JOB: sound()}) == []


@pytest.mark.parametrize(("plant", "expected_text"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_found(plant: Callable[[JobRecord], object], expected_text: str) -> None:
    job = sound()

    plant(job)

    assert any(expected_text in violation for violation in violations([JOB], {JOB: job})), violations(
        [JOB], {JOB: job}
    )


def test_a_missing_accepted_job_is_found() -> None:
    assert violations([JOB], {}) == [f"{JOB}: accepted, and not there"]


def test_a_failed_job_may_be_retried() -> None:
    job = sound()
    replace(job, 12, "job.failed")
    append_event(job, "job.retried")
    job.state, job.losses, job.result, job.waiting_for = "queued", 0, None, "run_at"

    assert violations([JOB], {JOB: job}, frozenset({"run_at"})) == []


def test_a_retry_gives_a_failed_step_its_tries_back() -> None:
    job = sound()
    job.events[10:10] = [
        EventRecord(11, "step.failed", {"step": "b", "index": 0, "attempt": 2}),
        EventRecord(12, "job.failed"),
        EventRecord(13, "job.retried"),
        EventRecord(14, "job.started", {"attempt": 3}),
        EventRecord(15, "step.started", {"step": "b", "index": 0, "attempt": 3}),
        EventRecord(16, "step.succeeded", {"step": "b", "index": 0, "attempt": 3}),
        EventRecord(17, "job.succeeded", {"result": 7}),
    ]
    del job.events[17:]
    job.event_seq, job.attempt, job.fence, job.losses = 17, 3, 3, 0
    job.steps[1] = StepRecord(key="b[0]", name="b", state="succeeded", tries=0)

    assert violations([JOB], {JOB: job}) == []


@pytest.mark.parametrize(("state", "reason"), [("running", None), ("queued", None), ("queued", "no_worker")])
def test_an_unfinished_job_needs_an_allowed_waiting_reason(state: str, reason: str | None) -> None:
    job = JobRecord(
        id=JOB, state=state, attempt=0, fence=0, losses=0, event_seq=1, progress=0.0, waiting_for=reason
    )
    job.events = [EventRecord(1, "job.queued")]

    assert f"{JOB}: neither ended nor waiting: {state}, {reason}" in violations([JOB], {JOB: job})


async def test_the_jobs_of_a_real_worker_have_no_violations(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    async with serving(faulty) as api, working(faulty):
        load = Load(api.http, ledger)
        await load.submit_many(3)
        await load.submit_many(1, pipeline="relay_apart")
        for job_id in load.accepted:
            await api.finish(job_id)
        later = await api.submit("relay", params={"ledger": str(ledger)}, run_at="2100-01-01T00:00:00Z")

        kept = await assert_kept(
            api, database, [*load.accepted, later["id"]], ledger, may_wait_for=frozenset({"run_at"})
        )

    assert [len(kept[job_id].entries) for job_id in load.accepted] == [4, 4, 4, 2]
