"""The numbers of jobs over a window of time."""

from datetime import datetime

from msgspec import Struct


class StateCounts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many jobs are in each state: exact up to 10,000, and PostgreSQL's estimate beyond that."""

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


class JobStatistics(Struct, frozen=True, kw_only=True):
    """The numbers of the jobs within a caller's view.

    Rates and percentiles are those of the jobs that ended in the last *measured_seconds*. These are the whole
    window, or less if more than 10,000 jobs have ended in it: then they are the time of the newest 10,000.
    *ended_jobs*: how many jobs that were. *start_latency_seconds*, of jobs that ended in their first attempt:
    from the moment when the job could run to its start. *duration_seconds*: from its start to its end.
    """

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
