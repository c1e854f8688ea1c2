"""The job queue as one worker uses it: claim jobs, write changes, renew and release leases, rescue jobs."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

import msgspec

from headrace.domain.database import Database, Row
from headrace.domain.events.encoding import EncodedEvent, encode_event
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import JobCancelled, JobError
from headrace.domain.jobs.attempts.change_repository import ChangeRepository
from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.jobs.attempts.claims import Claim, HeldLease, StepRecord, Worker
from headrace.domain.jobs.attempts.lease_repository import LeaseRepository
from headrace.domain.jobs.attempts.rescue_repository import RescueRepository
from headrace.domain.jobs.attempts.stored_items import read_items
from headrace.domain.jobs.claim_rules import MAX_LOSSES
from headrace.domain.jobs.eta.estimator import EtaEstimator
from headrace.domain.jobs.states import StepState
from headrace.domain.pipelines.versions import version_key
from headrace.domain.workers.repository import WorkerRepository

_MAX_TIMED_OUT: Final = 100
_MAX_EXPIRED: Final = 10_000
_RESCUE_BATCH: Final = 100

JOB_TIMEOUT: Final = JobError(code="job_timeout", message="the job is out of time")
_LOST_TOO_OFTEN: Final = JobError(code="lost_too_often", message=f"the job ended {MAX_LOSSES} of its workers")
_JOB_TIMEOUT_JSON: Final = msgspec.json.encode(JOB_TIMEOUT).decode()
_LOST_TOO_OFTEN_JSON: Final = msgspec.json.encode(_LOST_TOO_OFTEN).decode()


class JobQueue:
    """The use cases of one worker process; all but `claim` are one statement."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        eta_estimators: Mapping[str, EtaEstimator] | None = None,
        on_losses: Callable[[int], None] | None = None,
    ) -> None:
        """*eta_estimators* by `name@version`; each claim takes the one of its pipeline along.

        *on_losses* is called with the number of jobs that were rescued from lost attempts.
        """
        self._eta_estimators = eta_estimators or {}
        self._on_losses = on_losses
        self._leases = LeaseRepository(database)
        self._rescues = RescueRepository(database)
        self._changes = ChangeRepository(database)
        self._workers = WorkerRepository(database)
        self.worker = worker

    async def claim(
        self, limit: int, *, suspects: bool = False, process_limit: int | None = None
    ) -> list[Claim]:
        """Lease up to *limit* due jobs, in claim order: only suspects, or none of them.

        At most *process_limit* of them, by default all, begin with a step that runs in a process.
        """
        worker = self.worker
        rows = await self._leases.claim(
            worker.queues,
            worker.pipelines,
            limit,
            worker=worker.id,
            lease=worker.lease,
            suspects=suspects,
            process_limit=limit if process_limit is None else process_limit,
        )
        resumed = [row["id"] for row in rows if row["attempt"] > 1]
        steps: dict[UUID, dict[str, StepRecord]] = {}
        for row in await self._changes.fetch_steps(resumed) if resumed else ():
            items = None if row["items"] is None else await read_items(row["items"])
            steps.setdefault(row["job_id"], {})[row["key"]] = _step_record(row, items)
        return [_claim(row, steps.get(row["id"], {}), self._eta_estimators) for row in rows]

    async def count_due_suspects(self, limit: int) -> int:
        """Return how many suspects are due, at most *limit*: jobs that run in processes of their own."""
        return await self._leases.count_due_suspects(self.worker.queues, self.worker.pipelines, limit)

    async def write(self, changes: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        """Write one change per job; return the result of each, with news if it was applied now."""
        rows = {row["id"]: row for row in await self._changes.write(changes, self.worker.lease)}
        return {change.job_id: _write_result(change, rows[change.job_id]) for change in changes}

    async def renew(
        self, progress: Sequence[tuple[UUID, int, float, str]], *, skip_locked: bool = False
    ) -> set[HeldLease]:
        """Renew every lease of this worker and record that it is alive; return the leases that it holds.

        *progress* is stored on the way: job, fence, fraction, steps as JSON. With *skip_locked*, leases whose
        rows another transaction has locked are not renewed.
        """
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

    async def fetch_cancel_requests(self) -> set[HeldLease]:
        """Return the attempts of this worker whose job a user wants to cancel."""
        return await self._leases.fetch_cancel_requests(self.worker.id)

    async def release(self, leases: Sequence[HeldLease]) -> None:
        """Requeue the jobs of leases that the database gives to this worker and that it does not run."""
        await self._leases.release(self.worker.id, leases)

    async def fetch_expired(self) -> set[HeldLease]:
        """Return the leases of any worker that have run out."""
        return await self._rescues.fetch_expired(_MAX_EXPIRED)

    async def rescue(self, leases: Sequence[HeldLease]) -> list[JobNews]:
        """Requeue the jobs of *leases* that have still run out. Nobody is to blame."""
        return self._counted(_news(await self._rescues.rescue(leases, _LOST_TOO_OFTEN_JSON)))

    async def rescue_from(self, dead_worker: str, blamed: HeldLease | None) -> list[JobNews]:
        """See the function `rescue_from`."""
        return self._counted(await rescue_from(self._rescues, dead_worker, blamed))

    def _counted(self, news: list[JobNews]) -> list[JobNews]:
        if news and self._on_losses is not None:
            self._on_losses(len(news))
        return news

    async def fail_timed_out(self) -> list[JobNews]:
        """Fail queued jobs that are out of time."""
        return _news(await self._rescues.fail_timed_out(_MAX_TIMED_OUT, _JOB_TIMEOUT_JSON))

    async def deregister(self) -> None:
        """Delete this worker's row, so that nothing counts on it any more."""
        await self._workers.delete(self.worker.id)


async def rescue_from(rescues: RescueRepository, dead_worker: str, blamed: HeldLease | None) -> list[JobNews]:
    """Requeue all jobs of a worker that has certainly ended, without waiting for their leases.

    *blamed* is the attempt that ended it, if known: the loss counts for its job only, which fails with its
    fifth loss.
    """
    news: list[JobNews] = []
    leases = await rescues.fetch_held(dead_worker)
    for start in range(0, len(leases), _RESCUE_BATCH):
        news += _news(
            await rescues.rescue(
                leases[start : start + _RESCUE_BATCH],
                _LOST_TOO_OFTEN_JSON,
                blamed=blamed,
                dead_worker=dead_worker,
            )
        )
    return news


def _step_state(stored: str) -> StepState:
    """Return the state of a step run. A state that only a newer release knows means that it has to run."""
    try:
        return StepState(stored)
    except ValueError:
        return StepState.PENDING


def _step_record(row: Row, items: tuple[str, ...] | None) -> StepRecord:
    return StepRecord(
        key=row["key"],
        name=row["name"],
        index=row["index"],
        state=_step_state(row["state"]),
        tries=row["tries"],
        items=items,
        output=row["output"],
        retry_seconds=row["retry_seconds"],
        is_open=row["is_open"],
    )


def _claim(row: Row, steps: dict[str, StepRecord], eta_estimators: Mapping[str, EtaEstimator]) -> Claim:
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
        needs_process=row["needs_process"],
        progress=row["progress"],
        head=row["head"],
        log_events=row["log_events"],
        cancel_requested=row["cancel_requested"],
        seconds_left=row["seconds_left"],
        steps=steps,
        at=row["at"],
        received_at=time.monotonic(),
        news=JobNews.from_row(row, [EncodedEvent("job.started", row["body"])]),
        request_id=row["request_id"],
        late_seconds=row["late_seconds"],
        traceparent=row["traceparent"],
        eta_estimator=eta_estimators.get(version_key(row["pipeline"], row["version"])),
    )


def _write_result(change: Change, row: Row) -> tuple[WriteResult, JobNews | None]:
    verdict = row["verdict"]
    if verdict == "before":
        return WriteResult(verdict="applied"), None
    if verdict != "now":
        return WriteResult(verdict=verdict), None
    events = change.events
    if change.move is not None and change.move.target != row["state"]:
        events = [*events[:-1], encode_event(JobCancelled())]
    result = WriteResult(verdict="applied", head=row["head"], state=row["state"])
    return result, JobNews.from_row(row, events)


def _news(rows: Sequence[Row]) -> list[JobNews]:
    """Return the news of each job; *rows* has one row per event, those of a job side by side."""
    news = []
    for _, group in groupby(rows, key=lambda row: row["id"]):
        job_rows = list(group)
        events = [EncodedEvent(row["type"], row["body"]) for row in job_rows]
        news.append(JobNews.from_row(job_rows[-1], events))
    return news
