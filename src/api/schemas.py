"""The bodies of the API. Requests are named for the order, answers for the view."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from headrace.api.timestamps import sane
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.submission.submission import NOT_YET, JobSpec, NewJob
from headrace.domain.pipelines.models import PipelineVersion

T = TypeVar("T")

# Python's `$` would let a newline at the end pass.
_END = r"$(?!\n)"
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^[a-z][a-z0-9_]*{_END}")]
TagName = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^\S(.*\S)?{_END}")]
QueueName = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^[A-Za-z0-9][A-Za-z0-9_.-]*{_END}")]
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]
Tags = Annotated[list[TagName], Meta(max_length=50)]


class JobTerms(Struct, forbid_unknown_fields=True, kw_only=True):
    """How a job is to be run, whatever it does. Unknown fields are an error: typos do not pass silently."""

    run_at: Moment | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    queue: QueueName = "default"
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    tags: Tags = []
    meta: dict[str, Any] = {}

    def order(
        self,
        at: str,
        *,
        pipeline: str,
        params: dict[str, Any],
        version: int | None = None,
        preset_id: UUID | None = None,
    ) -> JobSpec:
        """That pipeline, to be run on these terms, which stand at *at* in the request.

        Raises:
            InvalidInputError: the time is none that can be reckoned with.
        """
        return JobSpec(
            pipeline=pipeline,
            version=version,
            params=params,
            run_at=sane(self.run_at, f"{at}.run_at"),
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
    """The body of PATCH /jobs/{id}. What is absent stays; a null in *meta* removes that key."""

    tags: Tags | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = UNSET


class ErrorView(Struct):
    code: str
    message: str
    step: str | None = None


class JobView(Struct, kw_only=True):
    """One job, as everybody outside sees it."""

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
    owner_id: UUID
    preset_id: UUID | None = None

    @classmethod
    def accepted(cls, job: NewJob, owner_id: UUID) -> "JobView":
        """A job that is about to be stored for *owner_id*; `NOT_YET` stands for the moment of that."""
        order = job.order
        return cls(
            id=job.id,
            pipeline=job.pipeline.name,
            version=job.pipeline.version,
            state="queued",
            waiting_for=job.waiting_for,
            params=order.params,
            result=None,
            error=None,
            progress=0.0,
            attempt=0,
            max_attempts=order.max_attempts,
            timeout_seconds=order.timeout_seconds,
            priority=order.priority,
            queue=order.queue,
            run_at=order.run_at or NOT_YET,
            created_at=NOT_YET,
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            event_seq=1,
            tags=sorted(set(order.tags)),
            meta=order.meta,
            owner_id=owner_id,
            preset_id=order.preset_id,
        )

    @classmethod
    def of(cls, job: Job, waiting_for: str | None = None) -> Self:
        return cls(
            id=job.id,
            pipeline=job.pipeline,
            version=job.version,
            state=job.state.value,
            waiting_for=waiting_for,
            params=job.params,
            result=job.result,
            error=None if job.error is None else ErrorView(**job.error),
            progress=job.progress,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            timeout_seconds=job.timeout_seconds,
            priority=job.priority,
            queue=job.queue,
            run_at=job.run_at,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            cancel_requested_at=job.cancel_requested_at,
            event_seq=job.event_seq,
            tags=[tag.name for tag in job.tags],
            meta=job.meta,
            owner_id=job.owner_id,
            preset_id=job.preset_id,
        )


class StepView(Struct, kw_only=True):
    """One step run; *attempt* is the job's attempt in which it last ran."""

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

    @classmethod
    def of(cls, run: StepRun, reported: dict[str, Any]) -> "StepView":
        said = reported.get(run.key) or {}
        total = said.get("total") or 0
        fraction = min(max(said.get("done", 0) / total, 0.0), 1.0) if total else 0.0
        return cls(
            name=run.name,
            index=run.index,
            state=run.state.value,
            attempt=run.attempt,
            tries=run.tries,
            progress=1.0 if run.state.value == "succeeded" else fraction,
            message=said.get("message"),
            output=[] if run.items is not None else run.output,
            error=None if run.error is None else ErrorView(**run.error),
            retry_at=run.retry_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
        )


class GraphStep(Struct, kw_only=True):
    name: str
    after: list[str]
    for_each: bool
    runs_in: str
    retries: int
    timeout_seconds: float
    weight: float = 1.0


class PipelineView(Struct, kw_only=True):
    """The newest version of a pipeline."""

    name: str
    version: int
    description: str
    params_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    steps: list[GraphStep]

    @classmethod
    def of(cls, pipeline: PipelineVersion) -> "PipelineView":
        return cls(
            name=pipeline.name,
            version=pipeline.version,
            description=pipeline.description,
            params_schema=pipeline.params_schema,
            result_schema=pipeline.result_schema,
            steps=[
                GraphStep(
                    **{name: value for name, value in node.items() if name in GraphStep.__struct_fields__}
                )
                for node in pipeline.graph
            ],
        )


class Page(Struct, Generic[T]):
    """One page of a list; *total* counts all that match."""

    items: Sequence[T]
    total: int
    limit: int
    offset: int


class Items(Struct, Generic[T]):
    items: Sequence[T]


class EventPage(Struct):
    """Events after the cursor, in order; *head* is the job's newest."""

    items: list[dict[str, Any]]
    head: int


class Health(Struct):
    """*degraded* names what is away and can be done without."""

    status: str
    degraded: list[str] = []


class ProblemError(Struct):
    path: str
    message: str


class Problem(Struct, kw_only=True, omit_defaults=True):
    """An error, in the form of RFC 9457; *code* is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    errors: list[ProblemError] | None = None
