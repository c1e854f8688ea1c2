"""The types of events, of which a job's history consists, and of progress frames. Pure.

The first line of each docstring is the event's summary in the written contract of the sockets.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

MAX_LOG_BYTES: Final = 8 * 1024
MAX_LOG_EVENTS: Final = 10_000


class JobError(Struct, frozen=True, kw_only=True):
    """Why a job or a step failed.

    *code* is stable, *message* is for people, *step* is the key of the step run if one failed.
    """

    code: str
    message: str
    step: str | None = None


class JobEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One fact about one job."""


class JobQueued(JobEvent, tag="job.queued", frozen=True):
    """The job was accepted and waits.

    It is always event 1, stored with the job itself. `job.started` follows when the job is due and a worker
    has room for it, `job.cancelled` if it is cancelled before.
    """


class JobStarted(JobEvent, tag="job.started", frozen=True, kw_only=True):
    """A worker has claimed the job: an attempt begins.

    *attempt* counts from 1. Events of steps, logs and files follow, then exactly one end of the attempt:
    `job.succeeded`, `job.failed`, `job.cancelled`, `job.requeued`, or `attempt.lost`.
    """

    attempt: int
    worker: str


class JobCancelRequested(JobEvent, tag="job.cancel_requested", frozen=True):
    """A user asked a running job to stop.

    The worker stops the steps that run. Then `job.cancelled` follows, also where the attempt ended or was
    lost in the meantime. A queued job is cancelled at once, without this event.
    """


class JobRequeued(JobEvent, tag="job.requeued", frozen=True, kw_only=True):
    """The attempt ended but the job did not; the next attempt may begin at *run_at*.

    *reason*: `retry` (a step waits for its next try), `handed_back` (the worker stops), `worker_lost` (it
    follows `attempt.lost`). Finished steps stay finished. `job.started` follows, or `job.cancelled` if the
    job is cancelled before, or `job.failed` if it is out of time before.
    """

    reason: str
    run_at: datetime


class JobSucceeded(JobEvent, tag="job.succeeded", frozen=True, kw_only=True):
    """Every step has succeeded. *result* is the output of the step that the pipeline names for it.

    A result of more than 64 KiB is null here, *result_omitted* is true, and the job itself has it. Nothing
    follows.
    """

    result: Any
    result_omitted: bool | UnsetType = UNSET


class JobFailed(JobEvent, tag="job.failed", frozen=True, kw_only=True):
    """The job ended without a result. *error* says why.

    A step failed its last try, the job is out of time, or too many attempts were lost. Only `job.retried` can
    follow.
    """

    error: JobError


class JobCancelled(JobEvent, tag="job.cancelled", frozen=True):
    """The job ended because a user cancelled it.

    Nothing follows.
    """


class JobRetried(JobEvent, tag="job.retried", frozen=True):
    """A user has queued a failed job again; finished steps stay finished.

    The other steps have all their tries again. `job.started` or `job.cancelled` follows.
    """


class AttemptLost(JobEvent, tag="attempt.lost", frozen=True, kw_only=True):
    """The worker of this attempt has vanished. *blamed*: the job itself ended it, as far as can be known.

    The same statement logs what becomes of the job: `job.requeued` with the reason `worker_lost`,
    `job.failed` after five losses for which the job was to blame, or `job.cancelled` if a cancel was
    requested.
    """

    attempt: int
    blamed: bool = False


class StepEvent(JobEvent, frozen=True, kw_only=True):
    """A fact about one step run. *index* is the item of a `for_each` step, from 0."""

    step: str
    index: int | None = None
    attempt: int


class StepStarted(StepEvent, tag="step.started", frozen=True, kw_only=True):
    """A try of the step begins.

    `step.succeeded` or `step.failed` follows, unless the attempt ends first.
    """


class StepSucceeded(StepEvent, tag="step.succeeded", frozen=True, kw_only=True):
    """A step run ended and its output is stored: no later attempt runs it again."""

    took_ms: int


class StepFailed(StepEvent, tag="step.failed", frozen=True, kw_only=True):
    """A try of the step failed. *retry_at* None: it was the last one.

    `step.started` follows when the next try begins, in this attempt or a later one. After the last try the
    job fails.
    """

    error: JobError
    retry_at: datetime | None = None


class LogWritten(JobEvent, tag="log", frozen=True, kw_only=True):
    """A step, or the worker itself, wrote a log message.

    A job logs at most 10,000 of them. *message* has at most 8 KiB.
    """

    level: str
    message: str
    fields: dict[str, Any] = {}
    step: str | None = None


class FileSummary(Struct, frozen=True, kw_only=True):
    """A file as clients see it. *size* is in bytes, *sha256* in hexadecimal."""

    id: UUID
    job_id: UUID | None
    step: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


class FileCreated(JobEvent, tag="file.created", frozen=True, kw_only=True):
    """A step has stored a file: its bytes can be downloaded.

    A later try of the step that stores a file of the same name logs this event again.
    """

    file: FileSummary


FINAL_TYPES: Final = frozenset({"job.succeeded", "job.failed", "job.cancelled"})


class Progress(Struct, frozen=True, kw_only=True):
    """How far one step run is: *done* of *total* units."""

    done: float
    total: float
    message: str | None = None


class Eta(Struct, frozen=True, kw_only=True):
    """How long the job probably still takes, judged by recent jobs of its pipeline."""

    low_seconds: float
    high_seconds: float


class ProgressFrame(Struct, frozen=True, kw_only=True, tag="progress", tag_field="type"):
    """How far a job is. The latest frame replaces all before it: it is not in the history and has no number.

    *steps* has an entry for each step run that has reported; a `for_each` step of more than 100 items has one
    for all of them. *skipped* counts the frames that this one replaced before they were sent. *eta* is left
    out while too few jobs of the pipeline have ended.
    """

    head: int
    attempt: int
    fence: int
    fraction: float
    steps: dict[str, Progress]
    skipped: int | UnsetType = UNSET
    eta: Eta | UnsetType = UNSET
