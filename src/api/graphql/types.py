"""GraphQL types without resolvers: owners, tags, files, steps, the caller."""

from datetime import datetime
from typing import Any, Final, NewType
from uuid import UUID

import strawberry

from headrace.api.graphql.json_values import JSON
from headrace.api.jobs.schemas import ErrorView, StepView
from headrace.api.pipelines import GraphStep
from headrace.api.schemas import view_of
from headrace.domain.files.models import File
from headrace.domain.jobs.states import JobState, StepState, read_state
from headrace.domain.read_model.results import NamedTag, Owner

BigInt = NewType("BigInt", int)
BIG_INT: Final = strawberry.scalar(
    name="BigInt", description="A whole number of up to 64 bits.", serialize=int, parse_value=int
)

strawberry.enum(JobState, description="Where a job stands.")
strawberry.enum(StepState, description="Where a step run stands.")


@strawberry.type(name="Owner", description="Whose something is.")
class OwnerNode:
    id: UUID
    username: str

    @classmethod
    def of(cls, owner: Owner) -> "OwnerNode":
        return view_of(cls, owner)


@strawberry.type(name="Me", description="Who asks.")
class MeNode:
    id: UUID
    username: str
    email: str | None
    is_admin: bool = strawberry.field(description="Whether the caller sees everybody's jobs.")
    scopes: list[str] = strawberry.field(description="What the caller's credential is good for.")


@strawberry.type(name="Tag", description="A name that an owner gives to jobs and presets.")
class TagNode:
    id: UUID
    name: str

    @classmethod
    def of(cls, tag: NamedTag) -> "TagNode":
        return view_of(cls, tag)


@strawberry.type(name="Error", description="Why something failed.")
class ErrorNode:
    code: str
    message: str
    step: str | None

    @classmethod
    def of(cls, error: ErrorView) -> "ErrorNode":
        return view_of(cls, error)


@strawberry.type(name="File", description="What a step of a job has made.")
class FileNode:
    id: UUID
    job_id: UUID | None
    step: str | None
    name: str
    media_type: str
    size: BigInt
    sha256: str
    created_at: datetime
    meta: JSON

    @classmethod
    def of(cls, file: File, meta: Any) -> "FileNode":
        return view_of(cls, file, sha256=file.sha256.hex(), meta=meta)


@strawberry.type(
    name="Step", description="One step run; `attempt` is the job's attempt in which it last ran."
)
class StepNode:
    name: str
    index: int | None
    state: StepState
    attempt: int
    tries: int
    progress: float
    message: str | None
    output: JSON | None
    error: ErrorNode | None
    retry_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, view: StepView) -> "StepNode":
        return view_of(
            cls, view, state=read_state(StepState, view.state), error=view.error and ErrorNode.of(view.error)
        )


@strawberry.type(name="PipelineStep", description="One step of a pipeline's graph.")
class PipelineStepNode:
    name: str
    after: list[str]
    for_each: bool
    runs_in: str
    retries: int
    timeout_seconds: float
    weight: float

    @classmethod
    def of(cls, step: GraphStep) -> "PipelineStepNode":
        return view_of(cls, step)
