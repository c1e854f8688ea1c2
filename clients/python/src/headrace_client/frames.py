"""The frames of a stream as types, and how they are read.

What a newer service says and this version does not know comes as `UnknownEvent` or `UnknownFrame`.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from headrace_client.views import File, Job, JobError


class Frame(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One thing that a stream says."""

    @property
    def type(self) -> str:
        """The name of its kind, like `step.started`."""
        return str(self.__struct_config__.tag)


class Hello(Frame, tag="hello", frozen=True, kw_only=True):
    """First on every connection, so again after each lost one. *head* is the job's newest event."""

    job_id: UUID
    head: int
    job: Job


class Progress(Struct, frozen=True, kw_only=True):
    """How far one step run is: *done* of *total* units."""

    done: float
    total: float
    message: str | None = None


class Eta(Struct, frozen=True, kw_only=True):
    """How long the job still takes, if it goes as it went lately."""

    low_seconds: float
    high_seconds: float


class ProgressFrame(Frame, tag="progress", frozen=True, kw_only=True):
    """How far a running job is. It replaces the one before it; *skipped* counts those that were left out.

    There is no *eta* where too little is known.
    """

    head: int
    attempt: int
    fence: int
    fraction: float
    steps: dict[str, Progress]
    skipped: int = 0
    eta: Eta | UnsetType = UNSET


class Beat(Frame, tag="beat", frozen=True, kw_only=True):
    """The connection lives. *degraded*: news travel slower than they should."""

    head: int
    degraded: bool


class End(Frame, tag="end", frozen=True, kw_only=True):
    """Last: the job is final and all its events were sent."""

    state: str


class Bye(Frame, tag="bye", frozen=True, kw_only=True):
    """The server stops; a watch comes back after that many seconds."""

    retry_after: float


class Refusal(Frame, tag="error", frozen=True, kw_only=True):
    """Something was refused, or the job is gone (`job_deleted`)."""

    code: str
    message: str


class Event(Frame, frozen=True, kw_only=True):
    """One fact about one job. *seq* rises by one per job, without gaps."""

    job_id: UUID
    seq: int
    at: datetime


class JobQueued(Event, tag="job.queued", frozen=True):
    """The job was accepted and waits."""


class JobStarted(Event, tag="job.started", frozen=True, kw_only=True):
    """A worker has taken the job: an attempt begins."""

    attempt: int
    worker: str


class JobCancelRequested(Event, tag="job.cancel_requested", frozen=True):
    """Somebody asked a running job to stop."""


class JobRequeued(Event, tag="job.requeued", frozen=True, kw_only=True):
    """The attempt ended without a verdict; *reason*: `retry`, `handed_back` or `worker_lost`."""

    reason: str
    run_at: datetime


class JobSucceeded(Event, tag="job.succeeded", frozen=True, kw_only=True):
    result: Any


class JobFailed(Event, tag="job.failed", frozen=True, kw_only=True):
    error: JobError


class JobCancelled(Event, tag="job.cancelled", frozen=True):
    """The job ended because somebody asked for it."""


class JobRetried(Event, tag="job.retried", frozen=True):
    """A failed job was queued again by hand; finished steps stay finished."""


class AttemptLost(Event, tag="attempt.lost", frozen=True, kw_only=True):
    """The worker that ran the job vanished."""

    attempt: int


class StepEvent(Event, frozen=True, kw_only=True):
    step: str
    index: int | None = None
    attempt: int


class StepStarted(StepEvent, tag="step.started", frozen=True, kw_only=True):
    """A try of the step begins."""


class StepSucceeded(StepEvent, tag="step.succeeded", frozen=True, kw_only=True):
    """The step's output is stored: it never runs again."""

    took_ms: int


class StepFailed(StepEvent, tag="step.failed", frozen=True, kw_only=True):
    """A try of the step failed. *retry_at* None: it was the last one."""

    error: JobError
    retry_at: datetime | None = None


class LogWritten(Event, tag="log", frozen=True, kw_only=True):
    level: str
    message: str
    fields: dict[str, Any] = {}
    step: str | None = None


class FileCreated(Event, tag="file.created", frozen=True, kw_only=True):
    file: File


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event that this version cannot read. *body* is all of it."""

    kind: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return self.kind


class UnknownFrame(Frame, frozen=True, kw_only=True):
    """A frame without a number that this version cannot read."""

    kind: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return self.kind


KnownEvent = (
    JobQueued
    | JobStarted
    | JobCancelRequested
    | JobRequeued
    | JobSucceeded
    | JobFailed
    | JobCancelled
    | JobRetried
    | AttemptLost
    | StepStarted
    | StepSucceeded
    | StepFailed
    | LogWritten
    | FileCreated
)
AnyEvent = KnownEvent | UnknownEvent
KnownFrame = Hello | ProgressFrame | Beat | End | Bye | Refusal | KnownEvent
AnyFrame = KnownFrame | UnknownEvent | UnknownFrame


class _Header(Struct):
    type: str
    job_id: UUID | None = None
    seq: int | None = None
    at: datetime | None = None


_decoder: Final[msgspec.json.Decoder[KnownFrame]] = msgspec.json.Decoder(KnownFrame)
_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split(message: bytes) -> list[msgspec.Raw]:
    """The frames of one message, as they were sent: one, or a JSON array of them.

    Raises:
        msgspec.DecodeError: it is neither.
    """
    return _messages.decode(message) if message[:1] == b"[" else [msgspec.Raw(message)]


def read_frame(raw: bytes | msgspec.Raw) -> AnyFrame:
    """One frame of a stream.

    Raises:
        msgspec.DecodeError: it is no frame at all.
    """
    try:
        return _decoder.decode(raw)
    except msgspec.ValidationError:
        header = msgspec.json.decode(raw, type=_Header)
        body = msgspec.json.decode(raw, type=dict[str, Any])
        if header.seq is None or header.job_id is None or header.at is None:
            return UnknownFrame(kind=header.type, body=body)
        return UnknownEvent(kind=header.type, job_id=header.job_id, seq=header.seq, at=header.at, body=body)
