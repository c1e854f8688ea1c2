"""The facts a job's history is made of, and their one form on the wire. Pure.

An event is written without its header (job, number, time): the database assigns number and time in the very
statement that makes the fact true. `frame` puts both together, always the same way, so every transport sends
the same bytes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

MAX_LOG_BYTES: Final = 8 * 1024
MAX_LOG_EVENTS: Final = 10_000


class JobError(Struct, frozen=True, kw_only=True):
    """Why a job or a step failed. *code* is stable, *message* is for people, *step* its key if one failed."""

    code: str
    message: str
    step: str | None = None


class JobEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One fact about one job."""


class JobQueued(JobEvent, tag="job.queued", frozen=True):
    """The job was accepted and waits."""


class JobStarted(JobEvent, tag="job.started", frozen=True, kw_only=True):
    """A worker holds the lease: an attempt begins."""

    attempt: int
    worker: str


class JobCancelRequested(JobEvent, tag="job.cancel_requested", frozen=True):
    """Somebody asked a running job to stop."""


class JobRequeued(JobEvent, tag="job.requeued", frozen=True, kw_only=True):
    """The attempt ended without a verdict; the next one may begin at *run_at*.

    *reason*: `retry` (a step waits for its next try), `handed_back` (the worker stops), `worker_lost`.
    """

    reason: str
    run_at: datetime


class JobSucceeded(JobEvent, tag="job.succeeded", frozen=True, kw_only=True):
    result: Any


class JobFailed(JobEvent, tag="job.failed", frozen=True, kw_only=True):
    error: JobError


class JobCancelled(JobEvent, tag="job.cancelled", frozen=True):
    """The job ended because somebody asked for it."""


class JobRetried(JobEvent, tag="job.retried", frozen=True):
    """A failed job was queued again by hand; finished steps stay finished."""


class AttemptLost(JobEvent, tag="attempt.lost", frozen=True, kw_only=True):
    """The worker that held the lease vanished."""

    attempt: int


class StepEvent(JobEvent, frozen=True, kw_only=True):
    step: str
    index: int | None = None
    attempt: int


class StepStarted(StepEvent, tag="step.started", frozen=True, kw_only=True):
    """A try of the step begins."""


class StepSucceeded(StepEvent, tag="step.succeeded", frozen=True, kw_only=True):
    """A step ended and its output is stored: no later attempt enters it again."""

    took_ms: int


class StepFailed(StepEvent, tag="step.failed", frozen=True, kw_only=True):
    """A try of the step failed. *retry_at* None: it was the last one."""

    error: JobError
    retry_at: datetime | None = None


class LogWritten(JobEvent, tag="log", frozen=True, kw_only=True):
    level: str
    message: str
    fields: dict[str, Any] = {}
    step: str | None = None


class FileSummary(Struct, frozen=True, kw_only=True):
    """A file as everybody outside sees it."""

    id: UUID
    job_id: UUID | None
    step: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


class FileCreated(JobEvent, tag="file.created", frozen=True, kw_only=True):
    file: FileSummary


class EncodedEvent(Struct, frozen=True, gc=False):
    """An event on its way into the log: its type, and its JSON without the header."""

    type: str
    body: str


class LoggedEvent(Struct, frozen=True, gc=False):
    """An event of the log: its number in the job, and its frame."""

    seq: int
    type: str
    frame: bytes


FINAL_TYPES: Final = frozenset({"job.succeeded", "job.failed", "job.cancelled"})

_encode = msgspec.json.Encoder().encode


def write(event: JobEvent) -> EncodedEvent:
    """Encode *event* for the log.

    Raises:
        TypeError, ValueError: the event holds something that JSON cannot.
    """
    kind = str(event.__struct_config__.tag)
    # What follows {"type":"KIND" is either }, or a comma and the fields.
    rest = _encode(event)[len(kind) + 10 :].decode()
    return EncodedEvent(kind, "{}" if rest == "}" else "{" + rest[1:])


def frame(job_id: UUID, seq: int, at: datetime, kind: str, body: str) -> bytes:
    """The event as it is sent: `{type, job_id, seq, at}` and then the body's own fields."""
    head = f'{{"type":"{kind}","job_id":"{job_id}","seq":{seq},"at":"{_moment(at)}"'
    return (head + ("}" if body == "{}" else "," + body[1:])).encode()


@lru_cache(maxsize=64)
def _moment(at: datetime) -> str:
    """As it is written in frames; all events of a statement share one."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def number(job_id: UUID, head: int, at: datetime, events: Iterable[EncodedEvent]) -> list[LoggedEvent]:
    """The frames of *events* that were just logged as the last ones up to *head*."""
    written = list(events)
    first = head - len(written) + 1
    return [
        LoggedEvent(seq, event.type, frame(job_id, seq, at, event.type, event.body))
        for seq, event in enumerate(written, start=first)
    ]


class Progress(Struct, frozen=True, kw_only=True):
    """How far one step run is: *done* of *total* units."""

    done: float
    total: float
    message: str | None = None


class Eta(Struct, frozen=True, kw_only=True):
    """How long the job still takes, if it goes as it went lately."""

    low_seconds: float
    high_seconds: float


class ProgressFrame(Struct, frozen=True, kw_only=True, tag="progress", tag_field="type"):
    """How far a job is. Latest wins: it is no history and has no number.

    *steps* has an entry for each step run that was heard of; a `for_each` step of more than 100 items has one
    for all of them. *skipped* counts the frames that this one replaced before they were sent. There is no
    *eta* where too little is known.
    """

    head: int
    attempt: int
    fence: int
    fraction: float
    steps: dict[str, Progress]
    skipped: int | UnsetType = UNSET
    eta: Eta | UnsetType = UNSET
