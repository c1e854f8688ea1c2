"""Compares what a mixed load was promised with what is stored. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from faults.checker import MAX_LOSSES
from faults.mixed_sent import Sent, SentJob, SentSubmission, digest, upload_content
from faults.records import JobRecord


class StoredJob(Struct, kw_only=True):
    """A stored job beside its record. *files* are the digests of its files, by step and name."""

    record: JobRecord
    pipeline: str
    params: dict[str, Any]
    meta: dict[str, Any]
    tags: list[str]
    error_code: str | None = None
    files: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def submission(self) -> int:
        number: int = self.meta["submission"]
        return number


def broken_promises(sent: Sent, stored: Mapping[str, StoredJob]) -> list[str]:
    """Return every broken promise as a sentence."""
    broken = [sentence for job in sent.jobs.values() for sentence in _check_calls(job, stored.get(job.id))]
    numbers = Counter(job.submission for job in stored.values())
    for submission in sent.submissions:
        broken += _check_submission(submission, sent, stored, numbers[submission.number])
    unsent = numbers.keys() - {submission.number for submission in sent.submissions}
    broken += [f"submission {number}: stored, and never sent" for number in sorted(unsent)]
    for job_id, job in stored.items():
        broken += [f"{job_id}: {sentence}" for sentence in _check_end(job, sent.jobs.get(job_id), sent)]
    return broken


def _check_calls(sent: SentJob, stored: StoredJob | None) -> Iterator[str]:
    """Check the acknowledged calls for one job."""
    if stored is None:
        if not sent.deletes.sent:
            yield f"{sent.id}: accepted, and not there"
        return
    if sent.deletes.acknowledged:
        yield f"{sent.id}: deleted, and still there"
    if sent.cancels.acknowledged and stored.record.state != "cancelled":
        yield f"{sent.id}: its cancel was accepted, it is {stored.record.state}"
    retries = len(stored.record.of_type("job.retried"))
    if not sent.retries.acknowledged <= retries <= sent.retries.sent:
        yield f"{sent.id}: retried {retries} times, {sent.retries} were sent"
    lost = {key: value for key, value in sent.meta.items() if stored.meta.get(key) != value}
    if lost:
        yield f"{sent.id}: the patches {lost} were accepted, its meta are {stored.meta}"
    if stored.tags not in (sent.tags, *sent.unknown_tags):
        yield f"{sent.id}: its tags are {stored.tags}, {sent.tags} were accepted"


def _check_submission(
    submission: SentSubmission, sent: Sent, stored: Mapping[str, StoredJob], count: int
) -> Iterator[str]:
    """Check that a submission made all its jobs once, or, if it was never accepted, perhaps none."""
    deleted = sum(
        job_id not in stored and sent.jobs[job_id].deletes.sent > 0 for job_id in submission.job_ids
    )
    permitted = {submission.count} if submission.response is not None else {0, submission.count}
    if count + deleted not in permitted:
        yield f"submission {submission.number} of {submission.count} jobs made {count + deleted}"


def _check_end(job: StoredJob, sent: SentJob | None, sent_all: Sent) -> Iterator[str]:
    """Check that a job ended as its parameters and its calls explain, with the right result and files."""
    files = _expected_files(job)
    match job.record.state:
        case "succeeded":
            if job.record.result != (expected := _expected_result(job, sent_all)):
                yield f"its result is {job.record.result}, not {expected}"
            if job.files != files:
                yield f"its files are {sorted(job.files)}, not {sorted(files)}"
        case "cancelled" if sent is None or not sent.cancels.sent:
            yield "cancelled, and nobody wanted that"
        case "failed" if not _may_fail(job, sent_all):
            yield f"failed with {job.error_code}"
    wrong = [key for key, value in job.files.items() if files.get(key) != value]
    if wrong:
        yield f"the files {wrong} are not those that its steps saved"


def _may_fail(job: StoredJob, sent: Sent) -> bool:
    match job.error_code:
        case "on_purpose":
            return bool(job.params.get("fails"))
        case "file_not_found":
            upload = sent.uploads[job.params["upload"]]
            return upload.deletes.sent > 0
        case "lost_too_often":
            return job.record.losses >= MAX_LOSSES
        case _:
            return False


def _expected_result(job: StoredJob, sent: Sent) -> dict[str, Any]:
    # This repeats what the steps compute on purpose: with their code, both sides would share its faults.
    upload = sent.uploads.get(job.params.get("upload", ""))
    content = "" if upload is None else digest(upload_content(upload.number))
    items = job.params["items"] if job.pipeline == "mixed" else 0
    return {"total": sum(range(items)), "upload": content}


def _expected_files(job: StoredJob) -> dict[tuple[str, str], str]:
    job_id = job.record.id
    if job.pipeline == "mixed_apart":
        return {("carry_apart", "carried"): digest(f"{job_id} apart".encode())}
    return {
        (f"carry[{number}]", "carried"): digest(f"{job_id} {number}".encode())
        for number in range(job.params["items"])
    }
