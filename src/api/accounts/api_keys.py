"""/api-keys: create, list and revoke API keys."""

from datetime import UTC, datetime
from uuid import UUID

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from headrace.api.accounts.schemas import ApiKeyView, MakeApiKey, NewApiKeyView
from headrace.api.auth.audit import AuditNote
from headrace.api.errors import InvalidInputError
from headrace.api.query_params import IdText, parse_after, parse_uuid
from headrace.api.schemas import After, Limit, Offset, Page, page_view
from headrace.api.timestamps import check_timestamp
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope
from headrace.domain.accounts.service import ApiKeyService
from headrace.domain.paging import PageRequest


class ApiKeyController(Controller):
    """The caller's own keys; for admins the keys of all users. A caller with an API key has no access."""

    path = "/api-keys"
    tags = ("accounts",)

    @post(operation_id="makeApiKey", scope=Scope.ACCOUNT, shows_secret=True)
    async def make(
        self,
        data: JSONBody[MakeApiKey],
        current_user: NamedDependency[CurrentUser],
        key_service: NamedDependency[ApiKeyService],
        audit_note: NamedDependency[AuditNote],
    ) -> NewApiKeyView:
        """Create a key. Its text is in this answer and cannot be shown again."""
        expires_at = check_timestamp(data.expires_at, "$.expires_at")
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise InvalidInputError("$.expires_at", "the time is over already")
        key, text = await key_service.create(current_user, data.name, data.scopes, expires_at)
        audit_note.object_id = key.id
        return NewApiKeyView.of_new(key, text)

    @get(operation_id="listApiKeys", scope=Scope.ACCOUNT)
    async def list_keys(
        self,
        current_user: NamedDependency[CurrentUser],
        key_service: NamedDependency[ApiKeyService],
        owner: IdText = None,
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> Page[ApiKeyView]:
        """The caller's keys, newest first. Admins may list those of another *owner*."""
        owner_id = parse_uuid("owner", owner) or current_user.id
        request = PageRequest(limit=limit, offset=offset, after=parse_after(after, offset))
        page = await key_service.get_page(current_user.reach, owner_id, request)
        return page_view(page, request, ApiKeyView.of)

    @get("/{key_id:uuid}", operation_id="getApiKey", scope=Scope.ACCOUNT)
    async def show(
        self,
        key_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        key_service: NamedDependency[ApiKeyService],
    ) -> ApiKeyView:
        """One key."""
        return ApiKeyView.of(await key_service.get(key_id, current_user.reach))

    @delete("/{key_id:uuid}", operation_id="deleteApiKey", scope=Scope.ACCOUNT)
    async def revoke(
        self,
        key_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        key_service: NamedDependency[ApiKeyService],
    ) -> None:
        """Revoke a key. It is refused everywhere within a second."""
        await key_service.revoke(key_id, current_user.reach)
