"""Batches the reads of one request: keys that resolvers ask for concurrently go out in one statement."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from strawberry.dataloader import DataLoader

from headrace.api.graphql.transaction import ReadTransaction
from headrace.domain.jobs.models import Job, StepRun
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.step_order import in_graph_order
from headrace.domain.omissions import MAX_LISTED_BYTES, OMITTED
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.read_model.results import FileRow, OwnedJob, Schemas

_MAX_KEYS: Final = 1_000

Version = tuple[str, int | None]
"""A pipeline's name and version. None: the newest version."""


class FirstOf(Struct, frozen=True):
    """A request for the *first* parts of a job, perhaps with the JSON value of each."""

    job: Job
    first: int
    with_value: bool


class ValuesOf(Struct, frozen=True):
    """A request for a job with those JSON values."""

    job_id: UUID
    values: frozenset[str]


class Loaders:
    """The loaders of one request. Each loads concurrent keys in one batch and remembers them."""

    def __init__(self, reads: ReadTransaction) -> None:
        self.reads = reads
        self.jobs: DataLoader[ValuesOf, OwnedJob | None] = DataLoader(self._jobs, _MAX_KEYS)
        self.pipelines: DataLoader[Version, PipelineVersion | None] = DataLoader(self._pipelines, _MAX_KEYS)
        self.steps: DataLoader[FirstOf, list[StepRun]] = DataLoader(self._steps, _MAX_KEYS)
        self.files: DataLoader[FirstOf, list[FileRow]] = DataLoader(self._files, _MAX_KEYS)
        self._schemas_of: DataLoader[UUID, Schemas] = DataLoader(self._schemas, _MAX_KEYS)
        self._schema_bytes = 0
        self.waiting: DataLoader[Job, str | None] = DataLoader(self._waiting, _MAX_KEYS)

    async def load_schemas(self, pipeline_id: UUID) -> Schemas:
        """Return the schemas of a pipeline, `OMITTED` once they were sent too often for one answer."""
        schemas = await self._schemas_of.load(pipeline_id)
        self._schema_bytes += schemas.size
        return schemas if self._schema_bytes <= MAX_LISTED_BYTES else Schemas(OMITTED, OMITTED)

    async def _jobs(self, keys: list[ValuesOf]) -> list[OwnedJob | None]:
        job_ids, values = [key.job_id for key in keys], frozenset[str]().union(*(key.values for key in keys))
        jobs = await self.reads.run(lambda repository: repository.fetch_jobs_by_id(job_ids, values))
        by_id = {owned.job.id: owned for owned in jobs}
        return [by_id.get(job_id) for job_id in job_ids]

    async def _schemas(self, pipeline_ids: list[UUID]) -> list[Schemas]:
        schemas = await self.reads.run(lambda repository: repository.fetch_schemas(pipeline_ids))
        return [schemas[pipeline_id] for pipeline_id in pipeline_ids]

    async def _pipelines(self, keys: list[Version]) -> list[PipelineVersion | None]:
        exact = [(name, version) for name, version in keys if version is not None]
        newest_of = [name for name, version in keys if version is None]
        versions = await self.reads.run(lambda repository: repository.fetch_pipelines(exact, newest_of))
        by_key: dict[Version, PipelineVersion] = {}
        # In ascending order, so that the newest version is the last one stored under None.
        for pipeline in sorted(versions, key=lambda pipeline: pipeline.version):
            by_key[(pipeline.name, pipeline.version)] = pipeline
            if pipeline.removed_at is None:
                by_key[(pipeline.name, None)] = pipeline
        return [by_key.get(key) for key in keys]

    async def _steps(self, keys: list[FirstOf]) -> list[list[StepRun]]:
        jobs = [key.job for key in keys]
        pipelines = await self.pipelines.load_many([(job.pipeline, job.version) for job in jobs])
        job_ids, first = _job_ids(keys), _largest_first(keys)
        stored: defaultdict[UUID, list[StepRun]] = defaultdict(list)
        with_output = any(key.with_value for key in keys)
        for run in await self.reads.run(
            lambda repository: repository.fetch_step_runs(job_ids, first, with_output=with_output)
        ):
            stored[run.job_id].append(run)
        return [
            in_graph_order(key.job, pipeline.graph if pipeline else [], stored[key.job.id])[: key.first]
            for key, pipeline in zip(keys, pipelines, strict=True)
        ]

    async def _files(self, keys: list[FirstOf]) -> list[list[FileRow]]:
        job_ids, first = _job_ids(keys), _largest_first(keys)
        of_job: defaultdict[UUID | None, list[FileRow]] = defaultdict(list)
        with_meta = any(key.with_value for key in keys)
        for row in await self.reads.run(
            lambda repository: repository.fetch_files(job_ids, first, with_meta=with_meta)
        ):
            of_job[row.file.job_id].append(row)
        return [of_job[key.job.id][: key.first] for key in keys]

    async def _waiting(self, jobs: list[Job]) -> list[str | None]:
        reasons = await self.reads.run(lambda repository: JobService(repository.session).why_waiting(jobs))
        return [reasons.get(job.id) for job in jobs]


def _job_ids(keys: Sequence[FirstOf]) -> list[UUID]:
    return sorted({key.job.id for key in keys})


def _largest_first(keys: Sequence[FirstOf]) -> int:
    return max(key.first for key in keys)
