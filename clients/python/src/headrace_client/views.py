"""The answers of the API: jobs, step runs, files and pages of them.

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

    *result_omitted*, *params_omitted*, *meta_omitted*, in a list: the value is large, and only the job by
    itself has it.
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


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list. *total* counts all matching items."""

    items: Sequence[T]
    total: int
    limit: int
    offset: int
