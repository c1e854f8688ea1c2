"""Events as they are encoded on the wire."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from headrace.domain.events import types
from headrace.domain.events.encoding import encode_event, encode_frame, number_events
from headrace.domain.events.types import JobError, JobEvent

JOB = UUID("01a1fccd-6b98-76e1-8951-c578b7c6189f")
AT = datetime(2026, 11, 21, 6, 30, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (types.JobQueued(), {}),
        (types.JobStarted(attempt=1, worker="w"), {"attempt": 1, "worker": "w"}),
        (types.JobSucceeded(result={"a": [1]}), {"result": {"a": [1]}}),
        (
            types.JobFailed(error=JobError(code="c", message="m", step="s[1]")),
            {"error": {"code": "c", "message": "m", "step": "s[1]"}},
        ),
        (
            types.StepSucceeded(step="s", index=2, attempt=1, took_ms=3),
            {"step": "s", "index": 2, "attempt": 1, "took_ms": 3},
        ),
    ],
)
def test_a_frame_has_the_header_and_the_fields_of_its_event(
    event: JobEvent, fields: dict[str, object]
) -> None:
    written = encode_event(event)

    seen = msgspec.json.decode(encode_frame(JOB, 7, AT, written.type, written.body))

    head = {"type": written.type, "job_id": str(JOB), "seq": 7, "at": "2026-11-21T06:30:00.123456Z"}
    assert seen == head | fields
    assert list(seen)[:4] == ["type", "job_id", "seq", "at"]


def test_the_event_numbers_of_a_statement_end_at_the_head() -> None:
    events = [encode_event(types.JobQueued()), encode_event(types.JobCancelled())]

    assert [event.seq for event in number_events(JOB, 9, AT, events)] == [8, 9]
