"""The frames of a stream as types, and functions to decode them.

Frames of a newer service that this version does not know become `UnknownEvent` or `UnknownFrame`.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from headrace_client.views import File, Job, JobError


class Frame(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One frame of a stream."""

    @property
    def type(self) -> str:
        """The wire name of the kind, for example `step.started`."""
        return str(self.__struct_config__.tag)


class Hello(Frame, tag="hello", frozen=True, kw_only=True):
    """The first frame of every connection. *head* is the number of the job's newest event."""

    job_id: UUID
    head: int
    job: Job


class Progress(Struct, frozen=True, kw_only=True):
    """The progress of one step run: *done* of *total* units."""

    done: float
    total: float
    message: str | None = None


class Eta(Struct, frozen=True, kw_only=True):
    """The estimated remaining time, in seconds, if the job runs as recent ones did."""

    low_seconds: float
    high_seconds: float


class ProgressFrame(Frame, tag="progress", frozen=True, kw_only=True):
    """The progress of a running job. It replaces the previous one; *skipped* counts those that were dropped.

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
    """A sign that the connection is alive. *degraded*: news arrives late."""

    head: int
    degraded: bool


class End(Frame, tag="end", frozen=True, kw_only=True):
    """The last frame: the job is final and all its events were sent."""

    state: str


class Bye(Frame, tag="bye", frozen=True, kw_only=True):
    """The server stops; a watch reconnects after *retry_after* seconds."""

    retry_after: float


class Refusal(Frame, tag="error", frozen=True, kw_only=True):
    """A request was refused, or the job was deleted (`job_deleted`)."""

    code: str
    message: str


class Event(Frame, frozen=True, kw_only=True):
    """One fact about one job. *seq* rises by one per job, without gaps."""

    job_id: UUID
    seq: int
    at: datetime


class JobQueued(Event, tag="job.queued", frozen=True):
    """The job was accepted and is queued."""


class JobStarted(Event, tag="job.started", frozen=True, kw_only=True):
    """A worker has claimed the job: an attempt starts."""

    attempt: int
    worker: str


class JobCancelRequested(Event, tag="job.cancel_requested", frozen=True):
    """A user has requested to cancel the running job."""


class JobRequeued(Event, tag="job.requeued", frozen=True, kw_only=True):
    """The attempt ended and the job is queued again. *reason*: `retry`, `handed_back` or `worker_lost`."""

    reason: str
    run_at: datetime


class JobSucceeded(Event, tag="job.succeeded", frozen=True, kw_only=True):
    """The job has succeeded. *result_omitted*: the result is large, and only the job itself has it."""

    result: Any
    result_omitted: bool = False


class JobFailed(Event, tag="job.failed", frozen=True, kw_only=True):
    error: JobError


class JobCancelled(Event, tag="job.cancelled", frozen=True):
    """The job was cancelled."""


class JobRetried(Event, tag="job.retried", frozen=True):
    """A user has queued a failed job again. Steps that have succeeded are not repeated."""


class AttemptLost(Event, tag="attempt.lost", frozen=True, kw_only=True):
    """The worker that ran the job vanished. *blamed*: the job itself ended it, as far as can be known."""

    attempt: int
    blamed: bool = False


class StepEvent(Event, frozen=True, kw_only=True):
    step: str
    index: int | None = None
    attempt: int


class StepStarted(StepEvent, tag="step.started", frozen=True, kw_only=True):
    """A try of the step starts."""


class StepSucceeded(StepEvent, tag="step.succeeded", frozen=True, kw_only=True):
    """The step's output is stored: it never runs again."""

    took_ms: int


class StepFailed(StepEvent, tag="step.failed", frozen=True, kw_only=True):
    """A try of the step failed. *retry_at* is None after the last one."""

    error: JobError
    retry_at: datetime | None = None


class LogWritten(Event, tag="log", frozen=True, kw_only=True):
    level: str
    message: str
    fields: dict[str, Any] = {}
    step: str | None = None


class FileCreated(Event, tag="file.created", frozen=True, kw_only=True):
    file: File


class JobSummary(Frame, tag="job", frozen=True, kw_only=True):
    """The newest state of one job, in a watch of all jobs. *head* is the number of its newest event."""

    job_id: UUID
    head: int
    state: str
    progress: float
    pipeline: str


class JobDeleted(Frame, tag="job.deleted", frozen=True, kw_only=True):
    """A job was deleted, in a watch of all jobs."""

    job_id: UUID


class JobsBeat(Frame, tag="beat", frozen=True, kw_only=True):
    """A sign that the connection of a watch of all jobs is alive. *degraded*: changes arrive late."""

    degraded: bool


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event that this version does not know. *body* is the whole frame."""

    kind: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return self.kind


class UnknownFrame(Frame, frozen=True, kw_only=True):
    """A frame without a number that this version does not know."""

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
KnownJobsFrame = JobSummary | JobDeleted | JobsBeat | Bye | Refusal
AnyJobsFrame = KnownJobsFrame | UnknownFrame


class _Header(Struct):
    type: str
    job_id: UUID | None = None
    seq: int | None = None
    at: datetime | None = None


_decoder: Final[msgspec.json.Decoder[KnownFrame]] = msgspec.json.Decoder(KnownFrame)
_jobs_decoder: Final[msgspec.json.Decoder[KnownJobsFrame]] = msgspec.json.Decoder(KnownJobsFrame)
_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split(message: bytes) -> list[msgspec.Raw]:
    """Split a message into its frames: it is one frame, or a JSON array of them.

    Raises:
        msgspec.DecodeError: the message is neither.
    """
    return _messages.decode(message) if message[:1] == b"[" else [msgspec.Raw(message)]


def read_frame(raw: bytes | msgspec.Raw) -> AnyFrame:
    """Decode one frame of a stream.

    Raises:
        msgspec.DecodeError: *raw* is not a frame.
    """
    try:
        return _decoder.decode(raw)
    except msgspec.ValidationError:
        header = msgspec.json.decode(raw, type=_Header)
        body = msgspec.json.decode(raw, type=dict[str, Any])
        if header.seq is None or header.job_id is None or header.at is None:
            return UnknownFrame(kind=header.type, body=body)
        return UnknownEvent(kind=header.type, job_id=header.job_id, seq=header.seq, at=header.at, body=body)


def read_jobs_frame(raw: bytes | msgspec.Raw) -> AnyJobsFrame:
    """Decode one frame of the stream of all jobs.

    Raises:
        msgspec.DecodeError: *raw* is not a frame.
    """
    try:
        return _jobs_decoder.decode(raw)
    except msgspec.ValidationError:
        kind = msgspec.json.decode(raw, type=_Header).type
        return UnknownFrame(kind=kind, body=msgspec.json.decode(raw, type=dict[str, Any]))
