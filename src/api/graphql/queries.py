"""Where a query begins. Whatever is not there and whatever is somebody else's is null, or left out."""

from datetime import datetime
from typing import Final
from uuid import UUID

import strawberry

from headrace.api.errors import InvalidInputError
from headrace.api.graphql.objects import Info, JobNode, PresetNode
from headrace.api.graphql.pages import SOME, check_limit, check_offset
from headrace.api.graphql.types import MeNode, PipelineNode, TagNode
from headrace.api.schemas import view_of
from headrace.api.timestamps import check_timestamp
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.states import JobState

_LONGEST_NAME: Final = 64
_LONGEST_SEARCH: Final = 200


@strawberry.input(name="JobFilters", description="Which jobs are wanted; what is left out does not matter.")
class JobFilters:
    state: JobState | None = None
    pipeline: str | None = None
    tag: str | None = None
    search: str | None = strawberry.field(
        default=None, description="A part of the id, the pipeline's name, the parameters or meta."
    )
    created_after: datetime | None = None
    created_before: datetime | None = None


@strawberry.type
class Query:
    @strawberry.field(description="The caller's jobs, newest first; an admin's are everybody's.")
    async def jobs(
        self, info: Info, filters: JobFilters | None = None, limit: int = SOME, offset: int = 0
    ) -> list[JobNode]:
        wanted = _wanted(filters or JobFilters(), check_limit(limit), check_offset(offset))
        found = await info.context.loaders.reads.ask(lambda repository: repository.fetch_jobs(wanted))
        return [JobNode.of(job) for job in found]

    @strawberry.field(description="One job; null where there is none, or it is somebody else's.")
    async def job(self, info: Info, id: UUID) -> JobNode | None:  # noqa: A002  (its name for clients)
        found = await info.context.loaders.jobs.load(id)
        return None if found is None else JobNode.of(found)

    @strawberry.field(description="The newest version of every pipeline, by name.")
    async def pipelines(self, info: Info, limit: int = SOME, offset: int = 0) -> list[PipelineNode]:
        page = check_limit(limit), check_offset(offset)
        found = await info.context.loaders.reads.ask(
            lambda repository: repository.fetch_newest_pipelines(*page)
        )
        return [PipelineNode.of(pipeline) for pipeline in found]

    @strawberry.field(description="The newest version of one pipeline.")
    async def pipeline(self, info: Info, name: str) -> PipelineNode | None:
        found = await info.context.loaders.pipelines.load((_short("name", name, _LONGEST_NAME), None))
        return None if found is None else PipelineNode.of(found)

    @strawberry.field(description="The caller's presets, by title; an admin's are everybody's.")
    async def presets(self, info: Info, limit: int = SOME, offset: int = 0) -> list[PresetNode]:
        page = check_limit(limit), check_offset(offset)
        found = await info.context.loaders.reads.ask(lambda repository: repository.fetch_presets(*page))
        return [PresetNode.of(preset) for preset in found]

    @strawberry.field(description="The caller's tags, by name; an admin's are everybody's.")
    async def tags(self, info: Info, limit: int = SOME, offset: int = 0) -> list[TagNode]:
        page = check_limit(limit), check_offset(offset)
        found = await info.context.loaders.reads.ask(lambda repository: repository.fetch_tags(*page))
        return [TagNode.of(tag) for tag in found]

    @strawberry.field(description="Who asks.")
    async def me(self, info: Info) -> MeNode:
        user = info.context.user
        return view_of(MeNode, user, is_admin=user.acts_as_admin, scopes=sorted(user.scopes))


def _wanted(filters: JobFilters, limit: int, offset: int) -> JobFilter:
    return JobFilter(
        state=filters.state,
        pipeline=filters.pipeline and _short("pipeline", filters.pipeline, _LONGEST_NAME),
        tag=filters.tag and _short("tag", filters.tag, _LONGEST_NAME),
        search=_short("search", filters.search or "", _LONGEST_SEARCH) or None,
        created_after=check_timestamp(filters.created_after, "createdAfter"),
        created_before=check_timestamp(filters.created_before, "createdBefore"),
        limit=limit,
        offset=offset,
    )


def _short(name: str, value: str, longest: int) -> str:
    if len(value) > longest:
        raise InvalidInputError(name, f"{name} has at most {longest} characters")
    if "\0" in value:
        raise InvalidInputError(name, "a text holds the character NUL", "nul_character")
    return value
