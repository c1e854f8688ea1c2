"""The use cases of submitted jobs: read, update, cancel, retry, delete."""

from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session, database_now, merge_json
from headrace.domain.events.encoding import EncodedEvent, encode_event
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import JobCancelled, JobCancelRequested, JobEvent, JobRetried
from headrace.domain.jobs.claim_rules import due_order
from headrace.domain.jobs.errors import JobNotFinalError, JobNotFoundError
from headrace.domain.jobs.filters import Include, JobFilter
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.repository import VALUES, JobRepository
from headrace.domain.jobs.states import IllegalTransitionError, JobState, move
from headrace.domain.jobs.step_order import in_graph_order
from headrace.domain.jobs.waiting import why_queued
from headrace.domain.json_limits import check_size
from headrace.domain.paging import ListPage
from headrace.domain.pipelines.repository import PipelineRepository
from headrace.domain.pipelines.versions import version_key
from headrace.domain.quotas.places import require_place
from headrace.domain.quotas.quotas import NO_QUOTAS, Quotas
from headrace.domain.workers.directory import ALIVE_WITHIN

_CANCELLABLE: Final = frozenset({JobState.QUEUED, JobState.RUNNING})
_RETRYABLE: Final = frozenset({JobState.FAILED})
_SHOWN: Final = frozenset(column.key for column in VALUES)


class JobService:
    """The use cases of jobs within a caller's reach.

    Methods flush and never commit. After its commit, the caller publishes *news* and rings for the queues in
    *rings*, which have new work.
    """

    def __init__(self, session: Session, quotas: Quotas = NO_QUOTAS) -> None:
        self._session = session
        self._quotas = quotas
        self._jobs = JobRepository(session)
        self._pipelines = PipelineRepository(session)
        self.news: list[JobNews] = []
        self.rings: list[str] = []

    async def get(self, job_id: UUID, reach: Reach, include: Set[Include] = frozenset()) -> Job:
        """Return the job with its tags and what *include* names.

        Raises:
            JobNotFoundError: there is no such job within reach.
        """
        job = await self._jobs.fetch(job_id, reach, include)
        if job is None:
            raise JobNotFoundError(job_id)
        return job

    async def get_many(self, job_ids: Sequence[UUID], reach: Reach) -> list[Job]:
        """Return those of the jobs that exist within reach and have no large values, in no order."""
        return await self._jobs.fetch_many(job_ids, reach)

    async def get_page(self, reach: Reach, filters: JobFilter) -> ListPage[Job]:
        """Return a page of the jobs that match, and how many match in all."""
        return await self._jobs.fetch_page(reach, filters)

    async def update(
        self,
        job_id: UUID,
        reach: Reach,
        *,
        tags: Sequence[str] | None = None,
        meta: dict[str, Any] | None = None,
        keep: bool | None = None,
    ) -> Job:
        """Replace the job's tags, merge *meta* into its own, where null removes a key, and pin or unpin it.

        None: no change. A pinned job is never pruned.

        Raises:
            JobNotFoundError: there is no such job within reach.
            ValueTooLargeError: the merged meta is too large.
        """
        job = await self._lock(job_id, reach, frozenset() if meta is None else {"meta"})
        if tags is not None:
            await self._jobs.set_tags(job, tags)
        if meta is not None:
            merge_json(job, "meta", meta)
            check_size(job.meta, "$.meta")
        if keep is not None:
            job.keep = keep
        await self._session.flush()
        return await self.get(job_id, reach)

    async def cancel(self, job_id: UUID, reach: Reach) -> Job:
        """Cancel a queued job at once; ask the worker of a running one to stop.

        Raises:
            JobNotFoundError: there is no such job within reach.
            IllegalTransitionError: the job is already final.
        """
        job = await self._lock_shown(job_id, reach, _CANCELLABLE)
        if job.state is not JobState.RUNNING:
            move(job.state, JobState.CANCELLED)
            await self._record(job, JobCancelled(), self._jobs.cancel)
        elif job.cancel_requested_at is None:
            await self._record(job, JobCancelRequested(), self._jobs.request_cancel)
        return job

    async def retry(self, job_id: UUID, reach: Reach) -> Job:
        """Queue a failed job again: finished steps stay finished, the others get all their tries back.

        Raises:
            JobNotFoundError: there is no such job within reach.
            IllegalTransitionError: the job did not fail.
            QuotaExceededError: its owner would have more jobs queued or running than a quota allows.
        """
        job = await self._lock_shown(job_id, reach, _RETRYABLE)
        if job.state not in _RETRYABLE:
            raise IllegalTransitionError(job.state, JobState.QUEUED)
        await require_place(self._session, job.owner_id, self._quotas)
        job.state = move(job.state, JobState.QUEUED)
        now = await database_now(self._session)
        job.run_at, job.due_order = now, due_order(now, job.created_at, job.priority)
        job.finished_at = job.started_at = job.error = job.cancel_requested_at = None
        job.losses, job.ran_seconds, job.progress, job.progress_steps = 0, 0.0, 0.0, None
        job.needs_process = (
            False  # a worker that claims it without a free slot hands it back and corrects this
        )
        await self._jobs.reset_steps(job)
        await self._record(job, JobRetried(), self._jobs.append_event)
        self.rings.append(job.queue)
        return job

    async def delete(self, job_id: UUID, reach: Reach) -> None:
        """Delete a final job, with its history and the rows of its files.

        Raises:
            JobNotFoundError: there is no such job within reach.
            JobNotFinalError: the job is queued or running.
        """
        job = await self._lock(job_id, reach)
        if not job.state.is_final:
            raise JobNotFinalError(job_id, job.state)
        await self._jobs.delete(job)

    async def revoke_tokens(self, job_id: UUID, reach: Reach) -> None:
        """Make every job token invalid that was issued for the job up to now.

        Raises:
            JobNotFoundError: there is no such job within reach.
        """
        job = await self._lock(job_id, reach)
        job.tokens_valid_after = await database_now(self._session)
        await self._session.flush()

    async def get_steps(self, job: Job) -> list[StepRun]:
        """Return the job's step runs in the order of its graph; steps without a row are made up."""
        pipeline = await self._pipelines.fetch(job.pipeline, job.version, with_removed=True)
        stored = await self._jobs.fetch_steps(job)
        return in_graph_order(job, pipeline.graph if pipeline else [], stored)

    async def why_waiting(self, jobs: Sequence[Job]) -> dict[UUID, str | None]:
        """Return for each queued job why it waits: see `why_queued`."""
        queued = [job for job in jobs if job.state is JobState.QUEUED]
        if not queued:
            return {}
        now, serving = await self._jobs.fetch_serving(ALIVE_WITHIN)
        return {
            job.id: why_queued(
                version_key(job.pipeline, job.version),
                job.queue,
                is_due=job.run_at <= now,
                attempt=job.attempt,
                losses=job.losses,
                needs_process=job.needs_process,
                serving=serving,
            )
            for job in queued
        }

    async def _lock(self, job_id: UUID, reach: Reach, values: Set[str] = frozenset()) -> Job:
        """Lock and return the job with those of its JSON *values*."""
        job = await self._jobs.fetch_locked(job_id, reach, values)
        if job is None:
            raise JobNotFoundError(job_id)
        return job

    async def _lock_shown(self, job_id: UUID, reach: Reach, states: Set[JobState]) -> Job:
        """Lock and return the job; if it is in one of *states*, with all that its view shows."""
        lock = partial(self._jobs.fetch_locked, job_id, reach, _SHOWN, states=states, with_tags=True)
        if (job := await lock()) is not None:
            return job
        job = await self._lock(job_id, reach)
        # Its state may have changed before it was locked.
        return (await lock() if job.state in states else None) or job

    async def _record(
        self, job: Job, event: JobEvent, write: Callable[[Job, EncodedEvent], Awaitable[datetime]]
    ) -> None:
        """Log *event* through *write*, in the transaction that makes it true, and keep it for publication."""
        encoded = encode_event(event)
        at = await write(job, encoded)
        self.news.append(
            JobNews(
                job_id=job.id,
                owner_id=job.owner_id,
                pipeline=job.pipeline,
                state=job.state,
                head=job.event_seq,
                progress=job.progress,
                at=at,
                events=[encoded],
            )
        )
