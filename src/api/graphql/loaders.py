"""What one request asks the database for: gathered from its resolvers, asked once, then forgotten."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from strawberry.dataloader import DataLoader

from headrace.api.graphql.transaction import ReadTransaction
from headrace.domain.files.models import File
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.step_order import in_graph_order
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.read_model.shapes import OwnedJob

_MOST_KEYS: Final = 1_000

Version = tuple[str, int | None]
"""A pipeline's name and version; None: the newest."""


class FirstOf(Struct, frozen=True):
    """The first of what belongs to a job."""

    job: Job
    first: int


class Loaders:
    """Made for one request; each of them asks once for all who ask at the same time."""

    def __init__(self, reads: ReadTransaction) -> None:
        self.reads = reads
        self.jobs: DataLoader[UUID, OwnedJob | None] = DataLoader(self._jobs, _MOST_KEYS)
        self.pipelines: DataLoader[Version, PipelineVersion | None] = DataLoader(self._pipelines, _MOST_KEYS)
        self.steps: DataLoader[FirstOf, list[StepRun]] = DataLoader(self._steps, _MOST_KEYS)
        self.files: DataLoader[FirstOf, list[File]] = DataLoader(self._files, _MOST_KEYS)
        self.waiting: DataLoader[Job, str | None] = DataLoader(self._waiting, _MOST_KEYS)

    async def _jobs(self, job_ids: list[UUID]) -> list[OwnedJob | None]:
        found = await self.reads.ask(lambda repository: repository.fetch_jobs_by_id(job_ids))
        by_id = {one.job.id: one for one in found}
        return [by_id.get(job_id) for job_id in job_ids]

    async def _pipelines(self, wanted: list[Version]) -> list[PipelineVersion | None]:
        exact = [(name, version) for name, version in wanted if version is not None]
        newest_of = [name for name, version in wanted if version is None]
        found = await self.reads.ask(lambda repository: repository.fetch_pipelines(exact, newest_of))
        by_version: dict[Version, PipelineVersion] = {}
        for one in sorted(found, key=lambda one: one.version):
            by_version[(one.name, one.version)] = by_version[(one.name, None)] = one
        return [by_version.get(version) for version in wanted]

    async def _steps(self, parts: list[FirstOf]) -> list[list[StepRun]]:
        jobs = [part.job for part in parts]
        pipelines = await self.pipelines.load_many([(job.pipeline, job.version) for job in jobs])
        ids, most = _ids(parts), _most(parts)
        stored: defaultdict[UUID, list[StepRun]] = defaultdict(list)
        for run in await self.reads.ask(lambda repository: repository.fetch_step_runs(ids, most)):
            stored[run.job_id].append(run)
        return [
            in_graph_order(part.job, pipeline.graph if pipeline else [], stored[part.job.id])[: part.first]
            for part, pipeline in zip(parts, pipelines, strict=True)
        ]

    async def _files(self, parts: list[FirstOf]) -> list[list[File]]:
        ids, most = _ids(parts), _most(parts)
        of_job: defaultdict[UUID | None, list[File]] = defaultdict(list)
        for file in await self.reads.ask(lambda repository: repository.fetch_files(ids, most)):
            of_job[file.job_id].append(file)
        return [of_job[part.job.id][: part.first] for part in parts]

    async def _waiting(self, jobs: list[Job]) -> list[str | None]:
        why = await self.reads.ask(lambda repository: JobService(repository.session).why_waiting(jobs))
        return [why.get(job.id) for job in jobs]


def _ids(parts: Sequence[FirstOf]) -> list[UUID]:
    return sorted({part.job.id for part in parts})


def _most(parts: Sequence[FirstOf]) -> int:
    return max(part.first for part in parts)
