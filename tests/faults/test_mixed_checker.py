"""The checker of the mixed run finds every planted broken promise."""

from collections.abc import Callable

import pytest

from faults.mixed_checker import StoredJob, broken_promises
from faults.mixed_sent import Calls, Sent, SentJob, SentSubmission, SentUpload, digest, upload_content
from faults.records import EventRecord, JobRecord

JOB, UPLOAD = "0190a000-0000-7000-8000-000000000001", "0190a000-0000-7000-8000-000000000002"

Stored = dict[str, StoredJob]


def sound() -> tuple[Sent, Stored]:
    """Return a job that was patched, retried and succeeded, as it was sent and as it is stored."""
    sent = Sent(
        jobs={
            JOB: SentJob(
                id=JOB,
                fails=1,
                retries=Calls(2, 1),
                cancels=Calls(1, 0),
                meta={"patch 4": 4},
                tags=["tag 4"],
                unknown_tags=[["tag 5"]],
            )
        },
        submissions=[
            SentSubmission(number=1, action="submit", path="/jobs", key="a", response=b"{}", job_ids=[JOB]),
            SentSubmission(number=2, action="submit a batch", path="/jobs/batch", count=3),
        ],
        uploads={UPLOAD: SentUpload(UPLOAD, 3)},
        number=5,
    )
    record = JobRecord(
        id=JOB,
        state="succeeded",
        attempt=2,
        fence=2,
        losses=0,
        event_seq=9,
        progress=1.0,
        result={"total": 0, "upload": digest(upload_content(3))},
        events=[EventRecord(5, "job.retried")],
    )
    job = StoredJob(
        record=record,
        pipeline="mixed",
        params={"items": 1, "fails": 1, "upload": UPLOAD},
        meta={"submission": 1, "patch 4": 4},
        tags=["tag 4"],
        files={("carry[0]", "carried"): digest(f"{JOB} 0".encode())},
    )
    return sent, {JOB: job}


def fail(sent: Sent, stored: Stored, code: str) -> None:
    stored[JOB].record.state, stored[JOB].error_code = "failed", code


def cancel(sent: Sent, stored: Stored) -> None:
    stored[JOB].record.state, sent.jobs[JOB].cancels = "cancelled", Calls()


def double(sent: Sent, stored: Stored) -> None:
    """Store the jobs of a submission twice."""
    stored[UPLOAD] = stored[JOB]


def halve(sent: Sent, stored: Stored) -> None:
    """Store a part of a batch."""
    sent.jobs[UPLOAD] = SentJob(id=UPLOAD)
    stored[UPLOAD] = sound()[1][JOB]
    stored[UPLOAD].meta = {"submission": 2}
    stored[UPLOAD].tags = []
    stored[UPLOAD].record.events = []


PLANTED: dict[str, Callable[[Sent, Stored], object]] = {
    "accepted, and not there": lambda sent, stored: stored.clear(),
    "deleted, and still there": lambda sent, stored: setattr(sent.jobs[JOB], "deletes", Calls(1, 1)),
    "its cancel was accepted": lambda sent, stored: setattr(sent.jobs[JOB], "cancels", Calls(1, 1)),
    "retried 1 times": lambda sent, stored: setattr(sent.jobs[JOB], "retries", Calls(2, 2)),
    "were accepted, its meta are": lambda sent, stored: stored[JOB].meta.pop("patch 4"),
    "its tags are": lambda sent, stored: stored[JOB].tags.clear(),
    "of 1 jobs made 2": double,
    "of 3 jobs made 1": halve,
    "stored, and never sent": lambda sent, stored: sent.submissions.pop(0),
    "its result is": lambda sent, stored: setattr(stored[JOB].record, "result", None),
    "its files are": lambda sent, stored: stored[JOB].files.clear(),
    "nobody wanted that": cancel,
    "failed with step_failed": lambda sent, stored: fail(sent, stored, "step_failed"),
    "failed with file_not_found": lambda sent, stored: fail(sent, stored, "file_not_found"),
    "failed with lost_too_often": lambda sent, stored: fail(sent, stored, "lost_too_often"),
    "are not those that its steps saved": lambda sent, stored: stored[JOB].files.update(
        {("carry[0]", "carried"): ""}
    ),
}


def test_kept_promises_pass() -> None:
    assert broken_promises(*sound()) == []


@pytest.mark.parametrize("sentence", PLANTED)
def test_a_broken_promise_is_found(sentence: str) -> None:
    sent, stored = sound()
    PLANTED[sentence](sent, stored)

    assert sentence in "\n".join(broken_promises(sent, stored))


def test_calls_without_an_answer_may_have_had_an_effect_or_none() -> None:
    sent, stored = sound()
    stored[JOB].tags = ["tag 5"]
    sent.jobs[JOB].deletes = Calls(1, 0)

    assert broken_promises(sent, stored) == []
    assert broken_promises(sent, {}) == []
