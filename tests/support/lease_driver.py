"""Calls for lease tests: those of workers and of users, on one database."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.domain.database import Database, Row
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import (
    JobCancelled,
    JobError,
    JobEvent,
    JobFailed,
    JobRequeued,
    JobSucceeded,
    LogWritten,
    StepFailed,
    StepStarted,
    StepSucceeded,
)
from headrace.domain.jobs.attempts.changes import Change, JobMove, StepChange, WriteResult
from headrace.domain.jobs.attempts.claims import Claim, Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import JobState, StepState
from headrace.domain.jobs.submission.submission import JobSpec, SubmissionKey
from headrace.domain.jobs.submission.submitter import Submitter

T = TypeVar("T")

OWNER: Final = UUID(int=1)
PIPELINE: Final = "noop"
LEASE: Final = timedelta(seconds=30)
ENDS: Final = {
    "finish": JobState.SUCCEEDED,
    "fail": JobState.FAILED,
    "requeue": JobState.QUEUED,
    "stop": JobState.CANCELLED,
}
BROKEN: Final = JobError(code="broken", message="it broke")


def job_spec(**more: Any) -> JobSpec:
    return JobSpec(pipeline=PIPELINE, params={}, **more)


def job_queue(
    database: Database,
    name: str = "a",
    *,
    queues: Sequence[str] = ("default",),
    pipelines: Sequence[str] = (f"{PIPELINE}@1",),
) -> JobQueue:
    """Return the job queue of a worker."""
    worker = Worker(id=name, queues=tuple(queues), pipelines=tuple(pipelines), concurrency=10, lease=LEASE)
    return JobQueue(database, worker)


def change(
    claim: Claim, write_no: int, *events: JobEvent, target: JobState | None = None, delay: float = 0.0
) -> Change:
    """Return the change *write_no* of an attempt; with a *target*, it ends the attempt with a final event."""
    result = Change(job_id=claim.job_id, owner_id=claim.owner_id, fence=claim.fence, write_no=write_no)
    result.events += [encode_event(event) for event in events]
    if target is not None:
        error = BROKEN if target is JobState.FAILED else None
        result.move = JobMove(target=target, result="null", error=error, delay_seconds=delay)
        result.events.append(encode_event(_event_of(target)))
    return result


def _event_of(target: JobState) -> JobEvent:
    match target:
        case JobState.SUCCEEDED:
            return JobSucceeded(result=None)
        case JobState.FAILED:
            return JobFailed(error=BROKEN)
        case JobState.CANCELLED:
            return JobCancelled()
        case _:
            return JobRequeued(reason="retry", run_at=datetime.now(UTC))


def change_of_kind(
    claim: Claim, write_no: int, kind: str, step: str, unfinished: Mapping[str, StepState]
) -> Change:
    """Return the change that a worker writes for *kind*; an end also changes the *unfinished* steps."""
    match kind:
        case "start":
            result = change(claim, write_no, StepStarted(step=step, attempt=claim.attempt))
            rows = {step: StepState.RUNNING}
        case "checkpoint":
            result = change(claim, write_no, StepSucceeded(step=step, attempt=claim.attempt, took_ms=1))
            rows = {step: StepState.SUCCEEDED}
        case "fail a try":
            result = change(claim, write_no, StepFailed(step=step, attempt=claim.attempt, error=BROKEN))
            rows = {step: StepState.PENDING}
        case "requeue":
            result = change(claim, write_no, target=JobState.QUEUED, delay=3600)
            rows = {key: StepState.PENDING for key, state in unfinished.items() if state is StepState.RUNNING}
        case "log":
            result = change(claim, write_no, LogWritten(level="info", message="hello"))
            rows = {}
        case _:
            result = change(claim, write_no, target=ENDS[kind])
            rows = dict.fromkeys(unfinished, StepState.CANCELLED)
    for key, state in rows.items():
        result.steps[key] = StepChange(key=key, index=None, state=state)
    return result


async def seed_database(database: Database) -> None:
    """Insert an owner and a pipeline into an empty database."""
    await database.fetch(
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES ($1, 'ada', false, now(), now())",
        OWNER,
    )
    await database.fetch(
        "INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)"
        " VALUES (gen_random_uuid(), $1, 1, '', '[]', '{}', now(), now())",
        PIPELINE,
    )


async def in_transaction(engine: AsyncEngine, call: Callable[[JobService], Awaitable[T]]) -> T:
    """Make *call* in a new transaction, as a request does."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with sessions() as session, session.begin():
        return await call(JobService(session=session))


async def submit(database: Database, *specs: JobSpec, key: SubmissionKey | None = None) -> list[UUID]:
    """Submit *specs* as one request. Return the ids of the jobs."""
    result = await Submitter(database).submit(OWNER, specs, lambda _: b"{}", key=key)
    return [news.job_id for news in result.news]


async def sweep(worker: JobQueue) -> list[JobNews]:
    """Take back all jobs with an expired lease, and fail all jobs that are out of time."""
    return await worker.rescue(sorted(await worker.fetch_expired())) + await worker.fail_timed_out()


class LeaseDriver:
    """Two workers and a user on a private event loop, for tests that are not coroutines."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._engine = build_engine(url)
        self._pool = self._run(StatementPool.open(url, size=1))
        self._workers = {name: job_queue(self._pool, name) for name in ("a", "b")}
        self._run(seed_database(self._pool))

    def close(self) -> None:
        self._run(self._pool.close())
        self._run(self._engine.dispose())
        self._loop.close()

    def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        return self._run(self._pool.fetch(statement, *arguments))

    def ask(self, call: Callable[[JobService], Awaitable[T]]) -> T:
        return self._run(in_transaction(self._engine, call))

    def submit(self, spec: JobSpec) -> UUID:
        (job_id,) = self._run(submit(self._pool, spec))
        return job_id

    def claim(self, worker: str, limit: int, *, suspects: bool) -> list[Claim]:
        return self._run(self._workers[worker].claim(limit, suspects=suspects))

    def write(self, batch: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        return self._run(self._workers["a"].write(batch))

    def renew(self, worker: str) -> set[tuple[UUID, int]]:
        return self._run(self._workers[worker].renew([]))

    def hand_back(self, worker: str, job_id: UUID, fence: int) -> None:
        self._run(self._workers[worker].release([(job_id, fence)]))

    def take_back(self, worker: str) -> list[JobNews]:
        return self._run(sweep(self._workers[worker]))

    def die(self, worker: str, successor: str, blamed: tuple[UUID, int] | None) -> list[JobNews]:
        """End *worker*; *successor* requeues its jobs and blames one of them."""
        return self._run(self._workers[successor].rescue_from(worker, blamed))

    def expire(self, worker: str) -> list[UUID]:
        """Let the leases of *worker* expire. Return the ids of the jobs."""
        return self._ids(
            "UPDATE jobs SET lease_expires_at = '2000-01-01' WHERE lease_owner = $1 RETURNING id", worker
        )

    def make_late(self, job_id: UUID) -> list[UUID]:
        """Let the timeout of a job pass, if it has started and not ended. Return its id."""
        return self._ids(
            "UPDATE jobs SET timeout_seconds = 3600, ran_seconds = 3600"
            " WHERE id = $1 AND started_at IS NOT NULL AND finished_at IS NULL RETURNING id",
            job_id,
        )

    def make_due(self) -> list[UUID]:
        """Make all waiting jobs due. Return the ids of those that waited for a time."""
        return self._ids(
            "UPDATE jobs SET run_at = statement_timestamp(),"
            " due_order = statement_timestamp() - priority * interval '60 seconds'"
            " WHERE state = 'queued' AND run_at > statement_timestamp() RETURNING id"
        )

    def _ids(self, statement: str, *arguments: Any) -> list[UUID]:
        return [row["id"] for row in self.fetch(statement, *arguments)]

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)
