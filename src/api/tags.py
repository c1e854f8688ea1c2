"""/tags: the names that mark jobs and presets."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Struct, UnsetType

from headrace.api.auth.audit import AuditNote
from headrace.api.query_params import parse_after, parse_order_by, sort_options
from headrace.api.schemas import After, Limit, Offset, Page, Reference, TagName, page_view, view_of
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.tags.repository import SORT_COLUMNS, CountedTag, TagFilter
from headrace.domain.tags.service import TagService


class CreateTag(Struct, forbid_unknown_fields=True):
    """The body of POST /tags."""

    name: TagName


class PatchTag(Struct, forbid_unknown_fields=True):
    """The body of PATCH /tags/{id}. Absent fields stay unchanged."""

    name: TagName | UnsetType = UNSET


class TagView(Struct, kw_only=True):
    """One tag, and how many jobs and presets it marks."""

    id: UUID
    owner_id: UUID
    name: str
    jobs: int
    presets: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, counted: CountedTag) -> "TagView":
        return view_of(cls, counted.tag, jobs=counted.jobs, presets=counted.presets)


class TagController(Controller):
    path = "/tags"
    tags = ("tags",)

    @get(operation_id="listTags", scope=Scope.JOBS_READ)
    async def list_tags(
        self,
        current_user: NamedDependency[CurrentUser],
        tag_service: NamedDependency[TagService],
        order_by: Annotated[str, QueryParameter(enum=sort_options(SORT_COLUMNS))] = "name",
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> Page[TagView]:
        """The caller's tags."""
        filters = TagFilter(
            order_by=parse_order_by(order_by, SORT_COLUMNS),
            limit=limit,
            offset=offset,
            after=parse_after(after, offset),
        )
        return page_view(await tag_service.get_page(current_user.reach, filters), filters, TagView.of)

    @post(operation_id="createTag", scope=Scope.JOBS_WRITE)
    async def create(
        self,
        data: JSONBody[CreateTag],
        current_user: NamedDependency[CurrentUser],
        tag_service: NamedDependency[TagService],
        audit_note: NamedDependency[AuditNote],
    ) -> Response[TagView]:
        """Create a tag. Jobs and presets create the tags that they name by themselves."""
        created = await tag_service.create(current_user.id, data.name)
        audit_note.object_id = created.tag.id
        return Response(TagView.of(created), headers={"Location": f"/api/v1/tags/{created.tag.id}"})

    @get("/{tag_id:uuid}", operation_id="getTag", scope=Scope.JOBS_READ, tagged=True)
    async def show(
        self,
        tag_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        tag_service: NamedDependency[TagService],
    ) -> TagView:
        """One tag."""
        return TagView.of(await tag_service.get(tag_id, current_user.reach))

    @patch("/{tag_id:uuid}", operation_id="patchTag", scope=Scope.JOBS_WRITE)
    async def change(
        self,
        tag_id: FromPath[UUID],
        data: JSONBody[PatchTag],
        current_user: NamedDependency[CurrentUser],
        tag_service: NamedDependency[TagService],
    ) -> TagView | Reference:
        """Rename a tag on all jobs and presets that it marks."""
        if data.name is UNSET:
            tag = await tag_service.get(tag_id, current_user.reach)
        else:
            tag = await tag_service.rename(tag_id, current_user.reach, data.name)
        return TagView.of(tag) if Scope.JOBS_READ in current_user.scopes else Reference(tag_id)

    @delete("/{tag_id:uuid}", operation_id="deleteTag", scope=Scope.JOBS_WRITE)
    async def remove(
        self,
        tag_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        tag_service: NamedDependency[TagService],
    ) -> None:
        """Delete a tag. The jobs and presets that it marked stay."""
        await tag_service.delete(tag_id, current_user.reach)
