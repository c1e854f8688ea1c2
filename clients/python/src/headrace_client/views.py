"""The answers of the API: jobs, step runs, files, pipelines, presets, tags, accounts, and pages of them.

Fields that a newer service adds are left out, so an older client can still read them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

T = TypeVar("T")

FINAL_STATES: Final = frozenset({"succeeded", "failed", "cancelled"})


class JobError(Struct, frozen=True, kw_only=True):
    """Why a job or a step failed. *code* is stable, *message* is for people, *step* its key if one failed."""

    code: str
    message: str
    step: str | None = None


class Job(Struct, frozen=True, kw_only=True):
    """One job. *state*: `queued`, `running`, `succeeded`, `failed` or `cancelled`.

    *keep*: the job is pinned, so that it is never pruned. *result_omitted*, *params_omitted*, *meta_omitted*,
    in a list: the value is large, and only the job by itself has it.
    """

    id: UUID
    pipeline: str
    version: int
    state: str
    waiting_for: str | None
    params: dict[str, Any]
    result: Any
    error: JobError | None
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
    result_omitted: bool = False
    params_omitted: bool = False
    meta_omitted: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the job has ended. A failed job can be queued again with a retry."""
        return self.state in FINAL_STATES


class StepRun(Struct, frozen=True, kw_only=True):
    """One step of a job. *attempt* is the job's attempt in which it last ran.

    *output_omitted*, in a list of jobs: the output is large, and only the job by itself has it.
    """

    name: str
    index: int | None
    state: str
    attempt: int
    tries: int
    progress: float
    message: str | None
    output: Any
    error: JobError | None
    retry_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    output_omitted: bool = False


class File(Struct, frozen=True, kw_only=True):
    """The metadata of a file. *sha256* is in hex."""

    id: UUID
    job_id: UUID | None
    step: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


class StoredFile(File, frozen=True, kw_only=True):
    """A file as the calls for files return it. *meta_omitted*, in a list: only the file by itself has it."""

    owner_id: UUID
    meta: dict[str, Any]
    meta_omitted: bool = False


class GraphStep(Struct, frozen=True, kw_only=True):
    """One step in a pipeline's graph."""

    name: str
    after: list[str]
    for_each: bool
    runs_in: str
    retries: int
    timeout_seconds: float
    weight: float = 1.0


class Pipeline(Struct, frozen=True, kw_only=True):
    """The newest version of a pipeline. *served*: a live worker runs jobs of it."""

    name: str
    version: int
    description: str
    params_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    steps: list[GraphStep]
    served: bool


class Preset(Struct, frozen=True, kw_only=True):
    """Saved parameters of a pipeline. *params_omitted*, in a list: only the preset by itself has them."""

    id: UUID
    owner_id: UUID
    title: str
    description: str | None
    pipeline: str
    params: dict[str, Any]
    tags: list[str]
    created_at: datetime
    updated_at: datetime
    params_omitted: bool = False


class Tag(Struct, frozen=True, kw_only=True):
    """One tag, and how many jobs and presets it marks."""

    id: UUID
    owner_id: UUID
    name: str
    jobs: int
    presets: int
    created_at: datetime
    updated_at: datetime


class QuotaUsage(Struct, frozen=True):
    """How much of a quota is used."""

    used: int
    limit: int


class Me(Struct, frozen=True, kw_only=True):
    """The caller. *auth* is the kind of its credential, *scopes* are the rights that it carries."""

    id: UUID
    username: str
    email: str | None
    is_admin: bool
    auth: str
    scopes: list[str]
    quotas: dict[str, QuotaUsage]


class ApiKey(Struct, frozen=True, kw_only=True):
    """An API key without its text."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """A new API key. Its text, *key*, is shown only here."""

    key: str


class JobToken(Struct, frozen=True, kw_only=True):
    """A token with which a page watches one job."""

    token: str
    scope: str
    expires_at: datetime


class StateCounts(Struct, frozen=True, kw_only=True):
    """How many jobs are in each state. Counts above 10,000 are estimates."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    queued_is_estimate: bool = False
    running_is_estimate: bool = False
    succeeded_is_estimate: bool = False
    failed_is_estimate: bool = False
    cancelled_is_estimate: bool = False


class Percentiles(Struct, frozen=True, kw_only=True):
    """Durations below which 50, 95 and 99 % of the jobs stay."""

    p50: float
    p95: float
    p99: float


class Stats(Struct, frozen=True, kw_only=True):
    """The numbers of jobs. Rates and percentiles are those of the last *measured_seconds*."""

    at: datetime
    window_seconds: int
    measured_seconds: float
    pipeline: str | None
    counts: StateCounts
    ended_jobs: int
    finished_per_minute: float
    failed_per_minute: float
    start_latency_seconds: Percentiles | None
    duration_seconds: Percentiles | None


class Queue(Struct, frozen=True, kw_only=True):
    """What waits and runs in one queue, and how many live workers serve it."""

    name: str
    queued: int
    oldest_due_at: datetime | None
    running: int
    workers: int
    queued_is_estimate: bool = False


class Scaling(Struct, frozen=True, kw_only=True):
    """How many workers a queue needs. *gated*: due jobs that no worker may start.

    *due_is_estimate*: too many jobs are due to count them, so *due* is PostgreSQL's estimate.
    """

    value: int
    due: int
    due_soon: int
    running: int
    gated: int
    oldest_due_seconds: float
    slots_per_worker: int
    wanted_workers: int
    due_is_estimate: bool = False


class Worker(Struct, frozen=True, kw_only=True):
    """One live worker, and the ids of the jobs that it runs and that the caller may see."""

    id: str
    queues: list[str]
    concurrency: int
    running: list[UUID]
    started_at: datetime
    last_seen_at: datetime


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list. *total* counts all matching items.

    *next* is the cursor of the page behind it, to be given as *after*; None for the last page.
    *total_is_estimate*: there are more than 10,000 items, and *total* is an estimate.
    *searched_back_to*: only the items created since then were looked at; None: all were.
    """

    items: Sequence[T]
    total: int
    limit: int
    offset: int
    total_is_estimate: bool = False
    next: str | None = None
    searched_back_to: datetime | None = None
