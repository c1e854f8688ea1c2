"""The events and rows that an attempt writes for its step runs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from headrace.domain.events.types import JobError
from headrace.domain.jobs.attempts.changes import Change, StepChange
from headrace.domain.jobs.states import StepState
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.plan import StepPlan
from support.worker_builders import Clock, items_of, new_claim, new_node, new_run

ERROR = JobError(code="step_failed", message="it failed", step="work")
# When the job was claimed, PostgreSQL's clock showed noon, and the worker's clock 100 s.
CLAIM = new_claim(attempt=3, fence=7, received_at=100.0)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> ChangeBuilder:
    """The change builder for a claim that is five seconds old."""
    monkeypatch.setattr("headrace.domain.jobs.attempts.claims.time", Clock(105.0))
    return ChangeBuilder(CLAIM)


def run_of_step(*, tries: int = 2, output: str | None = None) -> StepPlan:
    return new_run(new_node("work"), tries=tries, output=output)


def run_of_item(*, tries: int = 2, output: str | None = None) -> StepPlan:
    return new_run(new_node("many", for_each=items_of), 4, tries=tries, output=output)


def events_of(change: Change) -> list[tuple[str, Any]]:
    return [(event.type, msgspec.json.decode(event.body)) for event in change.events]


def row_of(change: Change, key: str) -> StepChange:
    """Return the only row of *change*."""
    assert list(change.steps) == [key]
    return change.steps[key]


def test_a_change_belongs_to_the_attempt_that_makes_it(changes: ChangeBuilder) -> None:
    assert changes.empty() == Change(job_id=UUID(int=1), owner_id=UUID(int=2), fence=7)


def test_changes_share_no_state(changes: ChangeBuilder) -> None:
    changes.empty().steps["work"] = changes.row(run_of_step(), StepState.PENDING)
    changes.started(run_of_step())

    assert changes.empty() == Change(job_id=UUID(int=1), owner_id=UUID(int=2), fence=7)


@pytest.mark.parametrize("state", StepState)
def test_a_row_has_the_step_run_and_its_state(changes: ChangeBuilder, state: StepState) -> None:
    row = changes.row(run_of_step(output="1"), state)

    assert row == StepChange(key="work", index=None, state=state, tries=2)


def test_the_row_of_an_item_has_its_index(changes: ChangeBuilder) -> None:
    row = changes.row(run_of_item(tries=0), StepState.PENDING)

    assert row == StepChange(key="many[4]", index=4, state=StepState.PENDING, tries=0)


def test_the_start_of_a_try_is_an_event_and_a_row(changes: ChangeBuilder) -> None:
    change = changes.started(run_of_step())

    assert events_of(change) == [("step.started", {"step": "work", "index": None, "attempt": 3})]
    assert row_of(change, "work") == StepChange(
        key="work", index=None, state=StepState.RUNNING, tries=2, started=True
    )


def test_the_start_of_an_item_is_written_with_its_index(changes: ChangeBuilder) -> None:
    change = changes.started(run_of_item())

    assert events_of(change) == [("step.started", {"step": "many", "index": 4, "attempt": 3})]
    assert row_of(change, "many[4]").index == 4


def test_a_success_is_an_event_and_a_row_with_the_output(changes: ChangeBuilder) -> None:
    change = changes.succeeded(run_of_step(output='{"a":1}'), 1234)

    assert events_of(change) == [
        ("step.succeeded", {"step": "work", "index": None, "attempt": 3, "took_ms": 1234})
    ]
    assert row_of(change, "work") == StepChange(
        key="work",
        index=None,
        state=StepState.SUCCEEDED,
        tries=2,
        output='{"a":1}',
    )


def test_the_success_of_an_item_is_written_with_its_index(changes: ChangeBuilder) -> None:
    change = changes.succeeded(run_of_item(output="1"), 0)

    assert events_of(change) == [("step.succeeded", {"step": "many", "index": 4, "attempt": 3, "took_ms": 0})]
    assert row_of(change, "many[4]").output == "1"


def test_a_retried_failure_has_its_retry_time_by_the_clock_of_postgresql(
    changes: ChangeBuilder,
) -> None:
    change = changes.failed(run_of_step(), ERROR, timedelta(seconds=7.5))

    assert events_of(change) == [
        (
            "step.failed",
            {
                "step": "work",
                "index": None,
                "attempt": 3,
                "error": {"code": "step_failed", "message": "it failed", "step": "work"},
                "retry_at": "2026-01-01T12:00:12.500000Z",
            },
        )
    ]


def test_a_retried_step_is_pending_with_its_error(changes: ChangeBuilder) -> None:
    change = changes.failed(run_of_step(), ERROR, timedelta(seconds=7.5))

    assert row_of(change, "work") == StepChange(
        key="work",
        index=None,
        state=StepState.PENDING,
        tries=2,
        error='{"code":"step_failed","message":"it failed","step":"work"}',
        retry_seconds=7.5,
    )


def test_a_step_that_is_retried_at_once_waits_zero_seconds(changes: ChangeBuilder) -> None:
    change = changes.failed(run_of_step(), ERROR, timedelta(0))

    assert row_of(change, "work").state is StepState.PENDING
    assert row_of(change, "work").retry_seconds == 0.0
    assert events_of(change)[0][1]["retry_at"] == "2026-01-01T12:00:05Z"


def test_the_last_failure_of_a_step_fails_it(changes: ChangeBuilder) -> None:
    change = changes.failed(run_of_step(), ERROR, None)

    assert events_of(change)[0][1]["retry_at"] is None
    assert row_of(change, "work") == StepChange(
        key="work",
        index=None,
        state=StepState.FAILED,
        tries=2,
        error='{"code":"step_failed","message":"it failed","step":"work"}',
    )


def test_the_failure_of_an_item_is_written_with_its_index(changes: ChangeBuilder) -> None:
    ((kind, body),) = events_of(changes.failed(run_of_item(), ERROR, None))

    assert (kind, body["step"], body["index"]) == ("step.failed", "many", 4)


def test_the_items_of_a_step_are_stored_as_done_without_an_event(changes: ChangeBuilder) -> None:
    change = changes.items("many", ['"a"', '"b"'])

    assert change.events == []
    assert row_of(change, "many") == StepChange(
        key="many",
        index=None,
        state=StepState.SUCCEEDED,
        items='["a","b"]',
    )


@pytest.mark.parametrize("kind", ["started", "succeeded", "failed", "items"])
def test_changes_of_a_step_run_move_neither_the_job_nor_its_progress(
    changes: ChangeBuilder, kind: str
) -> None:
    change = {
        "started": changes.started(run_of_step()),
        "succeeded": changes.succeeded(run_of_step(output="1"), 5),
        "failed": changes.failed(run_of_step(), ERROR, None),
        "items": changes.items("many", []),
    }[kind]

    assert (change.job_id, change.owner_id, change.fence) == (UUID(int=1), UUID(int=2), 7)
    assert (change.move, change.progress, change.files) == (None, None, [])
