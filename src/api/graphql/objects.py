"""GraphQL types with resolvers: pipelines, jobs and presets, whose parts load when a query selects them."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import strawberry
from msgspec import Struct, field

from headrace.api.graphql.json_values import JSON
from headrace.api.graphql.loaders import FirstOf, Loaders
from headrace.api.graphql.paging import DEFAULT_NESTED_LIMIT, check_limit
from headrace.api.graphql.strawberry_internals import selected_names
from headrace.api.graphql.types import ErrorNode, FileNode, OwnerNode, PipelineStepNode, StepNode, TagNode
from headrace.api.jobs.schemas import ErrorView, StepView
from headrace.api.pipelines import GraphStep
from headrace.api.schemas import view_of
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.search import JobSearch
from headrace.domain.jobs.states import JobState
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.read_model.results import OwnedJob, OwnedPreset


class GraphContext(Struct):
    """The context of every resolver: the caller and the loaders of the request.

    *searched_back_to*: how far the searches looked that did not look at all jobs, by the name of their field.
    *did_you_mean*: the most similar names of pipelines that do not exist, in the same way. *misses*: how many
    pipelines did not exist.
    """

    user: CurrentUser
    loaders: Loaders
    search: JobSearch
    searched_back_to: dict[str, datetime] = field(default_factory=dict)
    did_you_mean: dict[str, str] = field(default_factory=dict)
    misses: int = 0


Info = strawberry.Info[GraphContext, None]

JOB_VALUES: Final = frozenset({"params", "meta", "result"})
"""The JSON values of a job."""


@strawberry.type(name="Pipeline", description="One version of a pipeline.")
class PipelineNode:
    id: strawberry.Private[UUID]
    name: str
    version: int
    description: str
    steps: list[PipelineStepNode]
    served: bool = strawberry.field(description="Whether a live worker runs jobs of this version.")

    @classmethod
    def of(cls, pipeline: PipelineVersion) -> "PipelineNode":
        steps = msgspec.convert(pipeline.graph, list[GraphStep])
        return view_of(cls, pipeline, steps=[PipelineStepNode.of(step) for step in steps])

    @strawberry.field
    async def params_schema(self, info: Info) -> JSON:
        return JSON((await info.context.loaders.load_schemas(self.id)).params)

    @strawberry.field
    async def result_schema(self, info: Info) -> JSON | None:
        schema: JSON | None = (await info.context.loaders.load_schemas(self.id)).result
        return schema


@strawberry.type(name="Job", description="One submitted run of a pipeline.")
class JobNode:
    job: strawberry.Private[Job]
    id: UUID
    pipeline_name: str
    version: int
    state: JobState
    params: JSON
    result: JSON | None
    error: ErrorNode | None
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
    meta: JSON
    keep: bool = strawberry.field(description="Whether the job is pinned: it is never pruned.")
    owner_id: UUID
    preset_id: UUID | None
    owner: OwnerNode
    tags: list[TagNode]

    @classmethod
    def of(cls, owned: OwnedJob) -> "JobNode":
        job = owned.job
        return view_of(
            cls,
            job,
            job=job,
            pipeline_name=job.pipeline,
            **{name: owned.values.get(name) for name in JOB_VALUES},
            error=job.error and ErrorNode.of(ErrorView(**job.error)),
            owner=OwnerNode.of(owned.owner),
            tags=[TagNode.of(tag) for tag in owned.tags],
        )

    @strawberry.field(
        description="While queued: `run_at`, `backoff`, `process_slots_busy`, `quarantined`, `worker_busy` or"
        " `no_worker`."
    )
    async def waiting_for(self, info: Info) -> str | None:
        return await info.context.loaders.waiting.load(self.job)

    @strawberry.field(description="The pipeline in the version that the job was submitted to.")
    async def pipeline(self, info: Info) -> PipelineNode | None:
        return await _pipeline(info, self.job.pipeline, self.job.version)

    @strawberry.field(description="The first step runs, in the order of the graph. `/steps` has them all.")
    async def steps(self, info: Info, limit: int = DEFAULT_NESTED_LIMIT) -> list[StepNode]:
        with_output = "output" in selected_names(info)
        runs = await info.context.loaders.steps.load(FirstOf(self.job, check_limit(limit), with_output))
        reported = self.job.progress_steps or {}
        return [StepNode.of(StepView.of(run, reported)) for run in runs]

    @strawberry.field(description="The first files that the job's steps have made. `/files` has them all.")
    async def files(self, info: Info, limit: int = DEFAULT_NESTED_LIMIT) -> list[FileNode]:
        with_meta = "meta" in selected_names(info)
        files = await info.context.loaders.files.load(FirstOf(self.job, check_limit(limit), with_meta))
        return [FileNode.of(row.file, row.meta) for row in files]


@strawberry.type(name="Preset", description="Saved parameters of a pipeline.")
class PresetNode:
    id: UUID
    title: str
    description: str | None
    pipeline_name: str
    params: JSON
    created_at: datetime
    updated_at: datetime
    owner: OwnerNode
    tags: list[TagNode]

    @classmethod
    def of(cls, owned: OwnedPreset) -> "PresetNode":
        preset = owned.preset
        return view_of(
            cls,
            preset,
            pipeline_name=preset.pipeline,
            params=owned.params,
            owner=OwnerNode.of(owned.owner),
            tags=[TagNode.of(tag) for tag in owned.tags],
        )

    @strawberry.field(description="The newest version of the pipeline; null where it was never registered.")
    async def pipeline(self, info: Info) -> PipelineNode | None:
        return await _pipeline(info, self.pipeline_name, None)


async def _pipeline(info: Info, name: str, version: int | None) -> PipelineNode | None:
    pipeline = await info.context.loaders.pipelines.load((name, version))
    return None if pipeline is None else PipelineNode.of(pipeline)
