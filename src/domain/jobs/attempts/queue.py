"""What workers do with jobs: claim, write, renew, take back."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.domain.database import Database, Row
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import EncodedEvent, JobCancelled, JobError, write
from headrace.domain.jobs.attempts.change_repository import ChangeRepository
from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.jobs.attempts.lease_repository import MAX_LOSSES, LeaseRepository
from headrace.domain.jobs.eta.estimator import EtaEstimator
from headrace.domain.jobs.states import StepState

_SWEEP: Final = 100
_MOST_EXPIRED: Final = 10_000


def _error_json(code: str, message: str) -> str:
    return msgspec.json.encode(JobError(code=code, message=message)).decode()


_LOST_TOO_OFTEN: Final = _error_json("lost_too_often", f"the workers of {MAX_LOSSES} attempts vanished")
JOB_TIMEOUT: Final = JobError(code="job_timeout", message="the job is out of time")
_JOB_TIMEOUT: Final = msgspec.json.encode(JOB_TIMEOUT).decode()


class StepRecord(Struct, frozen=True, kw_only=True):
    """What is stored of a step run when an attempt begins. JSON values are texts."""

    key: str
    name: str
    index: int | None
    state: StepState
    tries: int
    items: str | None
    output: str | None
    retry_seconds: float | None


class Claim(Struct, frozen=True, kw_only=True):
    """One attempt that was just leased to this worker.

    *heard_at* is a moment of the monotonic clock; *request_id* names the request that submitted the job,
    where one did; *outlook* says what the steps of its pipeline take.
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
    progress: float
    head: int
    log_events: int
    cancel_requested: bool
    seconds_left: float | None
    steps: dict[str, StepRecord]
    started: EncodedEvent
    at: datetime
    heard_at: float
    request_id: str | None = None
    outlook: EtaEstimator | None = None

    def now(self) -> datetime:
        """The time as PostgreSQL has it: the worker's own clock may be wrong."""
        return self.at + timedelta(seconds=time.monotonic() - self.heard_at)

    @property
    def news(self) -> JobNews:
        return JobNews(
            job_id=self.job_id,
            owner_id=self.owner_id,
            pipeline=self.pipeline,
            state="running",
            head=self.head,
            progress=self.progress,
            at=self.at,
            events=[self.started],
        )


class Worker(Struct, frozen=True, kw_only=True):
    """A worker process as the database knows it."""

    id: str
    queues: tuple[str, ...]
    pipelines: tuple[str, ...]
    concurrency: int
    lease: timedelta


class JobQueue:
    """The use cases of one worker process."""

    def __init__(
        self, database: Database, worker: Worker, outlooks: Mapping[str, EtaEstimator] | None = None
    ) -> None:
        """*outlooks* by `name@version`."""
        self._outlooks = outlooks or {}
        self._leases = LeaseRepository(database)
        self._changes = ChangeRepository(database)
        self.worker = worker

    async def claim(self, limit: int, *, suspects: bool = False) -> list[Claim]:
        """Take the lease on up to *limit* due jobs, in claim order."""
        worker = self.worker
        rows = await self._leases.claim(
            worker.queues, worker.pipelines, limit, worker=worker.id, lease=worker.lease, suspects=suspects
        )
        again = [row["id"] for row in rows if row["attempt"] > 1]
        steps: dict[UUID, dict[str, StepRecord]] = {}
        for row in await self._changes.steps_of(again) if again else ():
            steps.setdefault(row["job_id"], {})[row["key"]] = _step_record(row)
        return [_claim(row, steps.get(row["id"], {}), self._outlooks) for row in rows]

    async def suspect_is_due(self) -> bool:
        """Whether a job that was lost twice waits: it is run alone."""
        return await self._leases.suspect_is_due(self.worker.queues, self.worker.pipelines)

    async def write(self, changes: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        """Write one change a job; every job of *changes* stands in the answer."""
        rows = {row["id"]: row for row in await self._changes.write(changes)}
        return {change.job_id: _outcome(change, rows[change.job_id]) for change in changes}

    async def renew(
        self, progress: Sequence[tuple[UUID, int, float, str]], *, skip_locked: bool = False
    ) -> set[tuple[UUID, int]]:
        """Prolong every lease; *progress* is (job, fence, fraction, steps as JSON). Returns what is held."""
        worker = self.worker
        return await self._leases.renew(
            worker.id,
            worker.lease,
            queues=worker.queues,
            pipelines=worker.pipelines,
            concurrency=worker.concurrency,
            progress=progress,
            skip_locked=skip_locked,
        )

    async def to_cancel(self) -> set[tuple[UUID, int]]:
        """The (job, fence) that this worker runs and somebody wants stopped."""
        return await self._leases.to_cancel(self.worker.id)

    async def hand_back(self, held: Sequence[tuple[UUID, int]]) -> None:
        """Requeue attempts that this worker holds without knowing of them."""
        await self._leases.hand_back(self.worker.id, held)

    async def expired(self) -> set[tuple[UUID, int]]:
        """The (job, fence) of anybody's whose lease has run out."""
        return await self._leases.expired(_MOST_EXPIRED)

    async def take_back(self, expired: Sequence[tuple[UUID, int]]) -> list[JobNews]:
        """Requeue those of *expired* that still are, or fail what was lost too often."""
        return _news_of(await self._leases.take_back(expired, _LOST_TOO_OFTEN))

    async def time_out(self) -> list[JobNews]:
        """Fail queued jobs whose time is over."""
        return _news_of(await self._leases.time_out(_SWEEP, _JOB_TIMEOUT))

    async def leave(self) -> None:
        """Say that this worker is gone."""
        await self._leases.forget_worker(self.worker.id)

    async def tidy(self) -> None:
        await self._leases.tidy()


def _step_record(row: Row) -> StepRecord:
    return StepRecord(
        key=row["key"],
        name=row["name"],
        index=row["index"],
        state=StepState(row["state"]),
        tries=row["tries"],
        items=row["items"],
        output=row["output"],
        retry_seconds=row["retry_seconds"],
    )


def _claim(row: Row, steps: dict[str, StepRecord], outlooks: Mapping[str, EtaEstimator]) -> Claim:
    return Claim(
        job_id=row["id"],
        owner_id=row["owner_id"],
        pipeline=row["pipeline"],
        version=row["version"],
        queue=row["queue"],
        params=row["params"],
        attempt=row["attempt"],
        fence=row["fence"],
        max_attempts=row["max_attempts"],
        losses=row["losses"],
        progress=row["progress"],
        head=row["event_seq"],
        log_events=row["log_events"],
        cancel_requested=row["cancel_requested"],
        seconds_left=row["seconds_left"],
        steps=steps,
        started=EncodedEvent("job.started", row["body"]),
        at=row["at"],
        heard_at=time.monotonic(),
        request_id=row["request_id"],
        outlook=outlooks.get(f"{row['pipeline']}@{row['version']}"),
    )


def _outcome(change: Change, row: Row) -> tuple[WriteResult, JobNews | None]:
    verdict = row["verdict"]
    if verdict == "before":
        return WriteResult(verdict="applied"), None
    if verdict != "now":
        return WriteResult(verdict=verdict), None
    told = change.events
    if change.move is not None and change.move.target != row["state"]:
        told = [*told[:-1], write(JobCancelled())]
    written = WriteResult(verdict="applied", head=row["head"], state=row["state"])
    news = JobNews(
        job_id=change.job_id,
        owner_id=change.owner_id,
        pipeline=row["pipeline"],
        state=row["state"],
        head=row["head"],
        progress=row["progress"],
        at=row["at"],
        events=told,
    )
    return written, news


def _news_of(rows: Sequence[Row]) -> list[JobNews]:
    news = []
    for job_id, group in groupby(rows, key=lambda row: row["id"]):
        told = list(group)
        last = told[-1]
        news.append(
            JobNews(
                job_id=job_id,
                owner_id=last["owner_id"],
                pipeline=last["pipeline"],
                state=last["state"],
                head=last["head"],
                progress=last["progress"],
                at=last["at"],
                events=[EncodedEvent(row["type"], row["body"]) for row in told],
            )
        )
    return news
