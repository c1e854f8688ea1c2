"""A worker, and the jobs that it has claimed, as the database hands them out. Pure."""

import time
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from msgspec import Struct

from headrace.domain.events.news import JobNews
from headrace.domain.jobs.eta.estimator import EtaEstimator
from headrace.domain.jobs.states import StepState

HeldLease: TypeAlias = tuple[UUID, int]
"""The job and the fence of a running attempt."""


class Worker(Struct, frozen=True, kw_only=True):
    """A worker process as the database knows it. *lease* is how long a claim or a renewal holds."""

    id: str
    queues: tuple[str, ...]
    pipelines: tuple[str, ...]
    concurrency: int
    lease: timedelta


class StepRecord(Struct, frozen=True, kw_only=True):
    """The stored row of a step run when an attempt begins. Each of *items*, and *output*, is a JSON text.

    *is_open*: its last try was entered and has not ended, as far as is known.
    """

    key: str
    name: str
    index: int | None
    state: StepState
    tries: int
    items: tuple[str, ...] | None
    output: str | None
    retry_seconds: float | None
    is_open: bool = False


class Claim(Struct, frozen=True, kw_only=True):
    """One attempt that was just leased to this worker.

    *at* is PostgreSQL's time of the claim and *received_at* the monotonic clock when its rows arrived. *news*
    is to be published: it holds the `job.started` event. *needs_process*: the next step runs in a process.
    *request_id* names the request that submitted the job; None for jobs that no request made. *late_seconds*:
    how long the job has been due. *traceparent*: the span of its submission, if that was traced.
    """

    job_id: UUID
    owner_id: UUID
    pipeline: str
    version: int
    queue: str
    params: str
    attempt: int
    fence: int
    max_attempts: int | None
    losses: int
    needs_process: bool
    progress: float
    head: int
    log_events: int
    cancel_requested: bool
    seconds_left: float | None
    steps: dict[str, StepRecord]
    at: datetime
    received_at: float
    news: JobNews
    request_id: str | None = None
    late_seconds: float = 0.0
    traceparent: str | None = None
    eta_estimator: EtaEstimator | None = None

    @property
    def lease(self) -> HeldLease:
        return (self.job_id, self.fence)

    def now(self) -> datetime:
        """Return PostgreSQL's time, since the worker's own clock may be wrong."""
        return self.at + timedelta(seconds=time.monotonic() - self.received_at)
