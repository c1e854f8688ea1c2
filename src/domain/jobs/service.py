"""What people do with jobs: submit, look, change, cancel, retry, delete."""

from collections.abc import Sequence, Set
from typing import Any
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import database_now, merge_json
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import JobCancelled, JobCancelRequested, JobEvent, JobRetried, write
from headrace.domain.jobs.claim_rules import due_order
from headrace.domain.jobs.errors import JobNotFinalError, JobNotFoundError
from headrace.domain.jobs.filters import Include, JobFilter
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.repository import JobRepository
from headrace.domain.jobs.states import IllegalTransitionError, JobState, StepState, move
from headrace.domain.jobs.waiting import why_queued
from headrace.domain.json_bounds import check_size
from headrace.domain.pipelines.repository import PipelineRepository
from headrace.domain.pipelines.versions import version_key
from headrace.domain.workers.directory import ALIVE_WITHIN


class JobService(SQLAlchemyAsyncRepositoryService[Job, JobRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it, and then tells the *news*."""

    repository_type = JobRepository

    def __init__(self, session: Any, **kwargs: Any) -> None:
        super().__init__(session=session, **kwargs)
        self._pipelines = PipelineRepository(session=session)
        self.news: list[JobNews] = []
        self.rings: list[str] = []

    async def find(self, job_id: UUID, reach: Reach, parts: Set[Include] = frozenset()) -> Job:
        """A job within reach, with the *parts* that are asked for.

        Raises:
            JobNotFoundError: none, or somebody else's.
        """
        return self._known(await self.repository.reached(job_id, reach, parts=parts), job_id)

    async def find_all(self, job_ids: Sequence[UUID], reach: Reach) -> list[Job]:
        """Those of the jobs that there are, and that are within reach."""
        return await self.repository.all_reached(job_ids, reach)

    async def page(self, reach: Reach, wanted: JobFilter) -> tuple[list[Job], int]:
        return await self.repository.page(reach, wanted)

    async def patch(
        self, job_id: UUID, reach: Reach, *, tags: Sequence[str] | None, meta: dict[str, Any] | None
    ) -> Job:
        """Replace the tags, lay *meta* over the job's own (a null removes its key); None leaves it alone.

        Raises:
            JobNotFoundError: none, or somebody else's.
            ValueTooLargeError: the meta would become too large to be kept.
        """
        job = self._known(await self.repository.reached(job_id, reach, lock=True), job_id)
        if tags is not None:
            await self.repository.set_tags(job.owner_id, job_id, tags)
        if meta is not None:
            merge_json(job, "meta", meta)
            check_size(job.meta, "$.meta")
            await self.repository.session.flush()
        return await self.find(job_id, reach)

    async def cancel(self, job_id: UUID, reach: Reach) -> Job:
        """Stop a waiting job at once; ask the worker of a running one to stop.

        Raises:
            JobNotFoundError: none, or somebody else's.
            IllegalTransitionError: the job is already final.
        """
        job = self._known(await self.repository.reached(job_id, reach, lock=True), job_id)
        if job.state is JobState.RUNNING:
            if job.cancel_requested_at is None:
                job.cancel_requested_at = await database_now(self.repository.session)
                await self._record(job, JobCancelRequested())
        else:
            job.state = move(job.state, JobState.CANCELLED)
            job.finished_at = await database_now(self.repository.session)
            await self.repository.cancel_steps(job_id)
            await self._record(job, JobCancelled())
        return job

    async def retry(self, job_id: UUID, reach: Reach) -> Job:
        """Queue a failed job again: its history goes on, finished steps stay finished, tries begin anew.

        Raises:
            JobNotFoundError: none, or somebody else's.
            IllegalTransitionError: the job did not fail.
        """
        job = self._known(await self.repository.reached(job_id, reach, lock=True), job_id)
        if job.state is not JobState.FAILED:
            raise IllegalTransitionError(job.state, JobState.QUEUED)
        job.state = move(job.state, JobState.QUEUED)
        now = await database_now(self.repository.session)
        job.run_at, job.due_order = now, due_order(now, job.priority)
        job.finished_at = job.started_at = job.error = job.cancel_requested_at = None
        job.losses, job.progress, job.progress_steps = 0, 0.0, None
        await self.repository.reset_steps(job_id)
        await self._record(job, JobRetried())
        self.rings.append(job.queue)
        return job

    async def remove(self, job_id: UUID, reach: Reach) -> None:
        """Delete a job that has ended, with its history and the rows of its files.

        Raises:
            JobNotFoundError: none, or somebody else's.
            JobNotFinalError: it has not ended.
        """
        job = self._known(await self.repository.reached(job_id, reach, lock=True), job_id)
        if not job.state.is_final:
            raise JobNotFinalError(job_id, job.state)
        await self.repository.forget(job_id)

    async def revoke_tokens(self, job_id: UUID, reach: Reach) -> None:
        """Have no token count that was made for the job up to now.

        Raises:
            JobNotFoundError: none, or somebody else's.
        """
        job = self._known(await self.repository.reached(job_id, reach, lock=True), job_id)
        job.tokens_valid_after = await database_now(self.repository.session)
        await self.repository.session.flush()

    async def steps(self, job: Job) -> list[StepRun]:
        """The step runs of the job in the order of its graph; those not begun are made up as `pending`."""
        found = await self._pipelines.find(job.pipeline, job.version)
        stored = list(await self.repository.steps(job.id))
        return in_graph_order(job, found.graph if found else [], stored)

    async def why_waiting(self, jobs: Sequence[Job]) -> dict[UUID, str]:
        """For each queued job: `run_at`, `backoff`, `worker_busy` or `no_worker`."""
        queued = [job for job in jobs if job.state is JobState.QUEUED]
        if not queued:
            return {}
        now, workers = await self.repository.serving(ALIVE_WITHIN)
        return {
            job.id: why_queued(
                version_key(job.pipeline, job.version),
                job.queue,
                is_due=job.run_at <= now,
                attempt=job.attempt,
                serving=workers,
            )
            for job in queued
        }

    async def _record(self, job: Job, event: JobEvent) -> None:
        """Log *event* in the transaction that makes it true."""
        job.event_seq += 1
        written = write(event)
        at = await self.repository.log(job, [written.type], [written.body])
        self.news.append(
            JobNews(
                job_id=job.id,
                owner_id=job.owner_id,
                pipeline=job.pipeline,
                state=job.state,
                head=job.event_seq,
                progress=job.progress,
                at=at,
                events=[written],
            )
        )

    @staticmethod
    def _known(job: Job | None, job_id: UUID) -> Job:
        if job is None:
            raise JobNotFoundError(job_id)
        return job


def in_graph_order(job: Job, graph: Sequence[dict[str, Any]], stored: Sequence[StepRun]) -> list[StepRun]:
    """The step runs in the order of the graph; those not begun are made up."""
    by_name: dict[str, list[StepRun]] = {}
    for run in stored:
        by_name.setdefault(run.name, []).append(run)
    ordered: list[StepRun] = []
    for node in graph:
        name = node["name"]
        runs = by_name.get(name, [])
        group = next((run for run in runs if run.items is not None), None)
        if group is None:
            ordered += runs or [_not_begun(job, name, None)]
        elif not group.items:
            ordered.append(group)
        else:
            begun = {run.index: run for run in runs if run.index is not None}
            ordered += [begun.get(index) or _not_begun(job, name, index) for index in range(len(group.items))]
    return ordered


def _not_begun(job: Job, name: str, index: int | None) -> StepRun:
    state = StepState.CANCELLED if job.state.is_final else StepState.PENDING
    key = name if index is None else f"{name}[{index}]"
    return StepRun(job_id=job.id, key=key, name=name, index=index, state=state, attempt=0, tries=0)
