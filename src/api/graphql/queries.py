"""The root fields of queries. Objects that are missing or out of reach are null, or left out of lists."""

from datetime import datetime
from typing import Final
from uuid import UUID

import strawberry

from headrace.api.accounts.schemas import MeView
from headrace.api.errors import InvalidInputError
from headrace.api.graphql.loaders import ValuesOf
from headrace.api.graphql.objects import JOB_VALUES, Info, JobNode, PipelineNode, PresetNode
from headrace.api.graphql.paging import DEFAULT_LIMIT, check_limit, check_offset
from headrace.api.graphql.strawberry_internals import selected_names
from headrace.api.graphql.types import MeNode, TagNode
from headrace.api.schemas import view_of
from headrace.api.timestamps import check_timestamp
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.states import JobState
from headrace.domain.pipelines.service import nearest_other

_MAX_NAME_LENGTH: Final = 64
_MAX_SEARCH_LENGTH: Final = 200
# Finding the nearest of all names takes some milliseconds.
_MAX_ADVICE: Final = 3


@strawberry.input(name="JobFilters", description="Which jobs are wanted; what is left out does not matter.")
class JobFilters:
    state: JobState | None = None
    pipeline: str | None = None
    tag: str | None = None
    search: str | None = strawberry.field(
        default=None,
        description="A part of the id, the pipeline's name, the parameters or meta of the newest jobs."
        " If there are more jobs, `extensions.searchedBackTo` says how far it looked.",
    )
    created_after: datetime | None = None
    created_before: datetime | None = None


@strawberry.type
class Query:
    @strawberry.field(description="The caller's jobs, newest first; an admin's are everybody's.")
    async def jobs(
        self, info: Info, filters: JobFilters | None = None, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[JobNode]:
        job_filter = _job_filter(filters or JobFilters(), check_limit(limit), check_offset(offset))
        reads = info.context.loaders.reads
        searched = await reads.search(info.context.search.find(info.context.user.reach, job_filter))
        values = JOB_VALUES & selected_names(info)
        jobs = await reads.run(lambda repository: repository.fetch_jobs(searched.filters, values))
        back_to = searched.back_to or jobs.looked_back_to
        if back_to is not None:
            info.context.searched_back_to[str(info.path.key)] = back_to
        return [JobNode.of(job) for job in jobs.items]

    @strawberry.field(description="One job; null where there is none, or it is somebody else's.")
    async def job(self, info: Info, id: UUID) -> JobNode | None:  # noqa: A002  (its name for clients)
        job = await info.context.loaders.jobs.load(ValuesOf(id, JOB_VALUES & selected_names(info)))
        return None if job is None else JobNode.of(job)

    @strawberry.field(description="The newest version of every pipeline, by name.")
    async def pipelines(self, info: Info, limit: int = DEFAULT_LIMIT, offset: int = 0) -> list[PipelineNode]:
        page = check_limit(limit), check_offset(offset)
        versions = await info.context.loaders.reads.run(
            lambda repository: repository.fetch_newest_pipelines(*page)
        )
        return [PipelineNode.of(version) for version in versions]

    @strawberry.field(
        description="The newest version of one pipeline. If there is none, `extensions.didYouMean` may name"
        " another."
    )
    async def pipeline(self, info: Info, name: str) -> PipelineNode | None:
        key = (_check_text("name", name, _MAX_NAME_LENGTH), None)
        version = await info.context.loaders.pipelines.load(key)
        if version is None:
            await _note_nearest(info, name)
            return None
        return PipelineNode.of(version)

    @strawberry.field(description="The caller's presets, by title; an admin's are everybody's.")
    async def presets(self, info: Info, limit: int = DEFAULT_LIMIT, offset: int = 0) -> list[PresetNode]:
        page = check_limit(limit), check_offset(offset)
        with_params = "params" in selected_names(info)
        presets = await info.context.loaders.reads.run(
            lambda repository: repository.fetch_presets(*page, with_params=with_params)
        )
        return [PresetNode.of(preset) for preset in presets]

    @strawberry.field(description="The caller's tags, by name; an admin's are everybody's.")
    async def tags(self, info: Info, limit: int = DEFAULT_LIMIT, offset: int = 0) -> list[TagNode]:
        page = check_limit(limit), check_offset(offset)
        tags = await info.context.loaders.reads.run(lambda repository: repository.fetch_tags(*page))
        return [TagNode.of(tag) for tag in tags]

    @strawberry.field(description="Who asks.")
    async def me(self, info: Info) -> MeNode:
        return view_of(MeNode, MeView.of(info.context.user, {}))


async def _note_nearest(info: Info, name: str) -> None:
    """Note the name most like that of a pipeline that does not exist, for the first few of a query."""
    context = info.context
    context.misses += 1
    if context.misses <= _MAX_ADVICE:
        names = await context.loaders.reads.run(lambda repository: repository.fetch_pipeline_names())
        if (meant := nearest_other(name, names)) is not None:
            context.did_you_mean[str(info.path.key)] = meant


def _job_filter(filters: JobFilters, limit: int, offset: int) -> JobFilter:
    return JobFilter(
        states=frozenset() if filters.state is None else frozenset({filters.state}),
        pipeline=filters.pipeline and _check_text("pipeline", filters.pipeline, _MAX_NAME_LENGTH),
        tag=filters.tag and _check_text("tag", filters.tag, _MAX_NAME_LENGTH),
        search=_check_text("search", filters.search or "", _MAX_SEARCH_LENGTH) or None,
        created_after=check_timestamp(filters.created_after, "createdAfter"),
        created_before=check_timestamp(filters.created_before, "createdBefore"),
        limit=limit,
        offset=offset,
    )


def _check_text(name: str, value: str, max_length: int) -> str:
    if len(value) > max_length:
        raise InvalidInputError(name, f"{name} has at most {max_length} characters")
    if "\0" in value:
        raise InvalidInputError(name, "a text holds the character NUL", "nul_character")
    return value
