"""The bodies of /jobs: what is submitted, and how jobs, step runs and events are shown."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from headrace.api.schemas import END_OF_TEXT, Name, Tags, Timestamp, omission, shown, view_of
from headrace.api.timestamps import check_timestamp
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.states import StepState
from headrace.domain.jobs.submission.submission import PLACEHOLDER_TIME, JobSpec, NewJob
from headrace.domain.omissions import OMITTED

QueueName = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=rf"^[A-Za-z0-9][A-Za-z0-9_.-]*{END_OF_TEXT}")
]


class JobTerms(Struct, forbid_unknown_fields=True, kw_only=True):
    """How a job runs, independent of its pipeline. Unknown fields are refused, so that typos are noticed."""

    run_at: Timestamp | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    queue: QueueName = "default"
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    tags: Tags = []
    meta: dict[str, Any] = {}

    def spec(
        self,
        at: str,
        *,
        pipeline: str,
        params: dict[str, Any],
        version: int | None = None,
        preset_id: UUID | None = None,
    ) -> JobSpec:
        """Return a job of *pipeline* on these terms, which stand at *at* in the request.

        Raises:
            InvalidInputError: `run_at` has no offset, or is out of range.
        """
        return JobSpec(
            pipeline=pipeline,
            version=version,
            params=params,
            run_at=check_timestamp(self.run_at, f"{at}.run_at"),
            priority=self.priority,
            queue=self.queue,
            max_attempts=self.max_attempts,
            timeout_seconds=self.timeout_seconds,
            tags=tuple(self.tags),
            meta=self.meta,
            preset_id=preset_id,
        )


class SubmitJob(JobTerms, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /jobs."""

    pipeline: Name
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    params: dict[str, Any] = {}


class SubmitBatch(Struct, forbid_unknown_fields=True):
    """The body of POST /jobs/batch: all or none."""

    jobs: Annotated[list[SubmitJob], Meta(min_length=1, max_length=1000)]


class PatchJob(Struct, forbid_unknown_fields=True):
    """The body of PATCH /jobs/{id}. Absent fields stay; a null in *meta* removes its key."""

    tags: Tags | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = UNSET
    keep: bool | UnsetType = UNSET


class ErrorView(Struct):
    """Why a job or a step failed. *step* is the step that made the job fail."""

    code: str
    message: str
    step: str | None = None


class JobView(Struct, kw_only=True):
    """One job, as clients see it."""

    id: UUID
    pipeline: str
    version: int
    state: str
    waiting_for: str | None
    params: dict[str, Any]
    result: Any
    error: ErrorView | None
    progress: float
    attempt: int
    max_attempts: int | None
    timeout_seconds: float | None
    priority: int
    queue: str
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    event_seq: int
    tags: list[str]
    meta: dict[str, Any]
    keep: bool
    owner_id: UUID
    preset_id: UUID | None = None
    result_omitted: bool | UnsetType = UNSET
    """True in a list if the result has more than 64 KiB, or does not fit into the list's 8 MiB.

    Then it is null there, and the job itself has it.
    """
    params_omitted: bool | UnsetType = UNSET
    """As *result_omitted*; the list then has an empty object in its place."""
    meta_omitted: bool | UnsetType = UNSET
    """As *params_omitted*."""

    @classmethod
    def accepted(cls, job: NewJob, owner_id: UUID) -> "JobView":
        """Show a job that is about to be stored. `PLACEHOLDER_TIME` stands for the time of storing."""
        spec = job.spec
        return cls(
            id=job.id,
            pipeline=job.pipeline.name,
            version=job.pipeline.version,
            state="queued",
            waiting_for=job.waiting_for,
            params=_as_encoded(job.params),
            result=None,
            error=None,
            progress=0.0,
            attempt=0,
            max_attempts=spec.max_attempts,
            timeout_seconds=spec.timeout_seconds,
            priority=spec.priority,
            queue=spec.queue,
            run_at=spec.run_at or PLACEHOLDER_TIME,
            created_at=PLACEHOLDER_TIME,
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            event_seq=1,
            tags=sorted(set(spec.tags)),
            meta=_as_encoded(job.meta),
            keep=False,
            owner_id=owner_id,
            preset_id=spec.preset_id,
        )

    @classmethod
    def of(cls, job: Job, waiting_for: str | None = None) -> Self:
        """Show a stored job, its tags loaded; *waiting_for* tells why a queued job does not run yet."""
        return view_of(
            cls,
            job,
            waiting_for=waiting_for,
            result=None if job.result is OMITTED else job.result,
            result_omitted=omission(job.result),
            params=shown(job.params),
            params_omitted=omission(job.params),
            meta=shown(job.meta),
            meta_omitted=omission(job.meta),
            error=_error_view(job.error),
            tags=[tag.name for tag in job.tags],
        )


class StepView(Struct, kw_only=True):
    """One step run. *attempt* is the job's attempt in which it last ran."""

    name: str
    index: int | None
    state: str
    attempt: int
    tries: int
    progress: float
    message: str | None
    output: Any
    error: ErrorView | None
    retry_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    output_omitted: bool | UnsetType = UNSET
    """True in a list of jobs if the output has more than 64 KiB, or does not fit into the list's 8 MiB.

    Then it is null there, and `/steps` has it.
    """

    @classmethod
    def of(cls, run: StepRun, reported: dict[str, Any]) -> "StepView":
        """Show a step run; *reported* is what the job's steps reported last, by the key of the run."""
        report = reported.get(run.key) or {}
        return view_of(
            cls,
            run,
            progress=1.0 if run.state is StepState.SUCCEEDED else _fraction(report),
            message=report.get("message"),
            # The row of a whole `for_each` step holds the items; their outputs are in the rows of the items.
            output=[] if run.items is not None else None if run.output is OMITTED else run.output,
            output_omitted=omission(run.output),
            error=_error_view(run.error),
        )


def _fraction(report: dict[str, Any]) -> float:
    total = report.get("total") or 0
    return min(max(report.get("done", 0) / total, 0.0), 1.0) if total else 0.0


def _as_encoded(text: str) -> Any:
    """Return a value that is encoded as the JSON *text*, which takes the time of a copy."""
    return msgspec.Raw(text.encode())


def _error_view(error: dict[str, Any] | None) -> ErrorView | None:
    return None if error is None else ErrorView(**error)


class EventPage(Struct):
    """Events after the cursor, in order; *head* is the job's newest."""

    items: list[dict[str, Any]]
    head: int
