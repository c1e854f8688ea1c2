"""/me, /users and /audit-log: the caller, all users, and the changes by admins."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from headrace.api.accounts.schemas import AuditView, MeView, PatchUser, UserView
from headrace.api.auth.audit import AuditNote
from headrace.api.dependencies import Services
from headrace.api.query_params import parse_after
from headrace.api.schemas import After, Limit, Offset, Page, page_view
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.repository import UserFilter
from headrace.domain.accounts.scopes import Scope
from headrace.domain.accounts.service import AuditService, UserService
from headrace.domain.paging import PageRequest


@get("/me", tags=["accounts"], operation_id="showMe", scope=Scope.JOBS_READ)
async def show_me(current_user: NamedDependency[CurrentUser], services: NamedDependency[Services]) -> MeView:
    """The caller, as the service has authenticated it, and how much of its quotas is used."""
    stored = await services.usage.fetch(current_user.id)
    return MeView.of(current_user, stored | services.limits.quotas.usage(current_user.id))


class UserController(Controller):
    """Users, for admins."""

    path = "/users"
    tags = ("accounts",)

    @get(operation_id="listUsers", scope=Scope.ADMIN)
    async def list_users(
        self,
        user_service: NamedDependency[UserService],
        services: NamedDependency[Services],
        search: Annotated[str | None, QueryParameter(max_length=200)] = None,
        limit: Limit = 100,
        offset: Offset = 0,
        after: After = None,
    ) -> Page[UserView]:
        """All users, by name."""
        filters = UserFilter(search=search, limit=limit, offset=offset, after=parse_after(after, offset))
        admins = services.authenticator.admins
        page = await user_service.get_page(filters)
        return page_view(page, filters, lambda user: UserView.of(user, admins))

    @get("/{user_id:uuid}", operation_id="getUser", scope=Scope.ADMIN)
    async def show(
        self,
        user_id: FromPath[UUID],
        user_service: NamedDependency[UserService],
        services: NamedDependency[Services],
    ) -> UserView:
        """One user."""
        return UserView.of(await user_service.get(user_id), services.authenticator.admins)

    @patch("/{user_id:uuid}", operation_id="patchUser", scope=Scope.ADMIN)
    async def change(
        self,
        user_id: FromPath[UUID],
        data: JSONBody[PatchUser],
        current_user: NamedDependency[CurrentUser],
        user_service: NamedDependency[UserService],
        services: NamedDependency[Services],
        audit_note: NamedDependency[AuditNote],
    ) -> UserView:
        """Grant or withdraw a user's admin rights. A user named in `HEADRACE_ADMINS` stays an admin."""
        audit_note.detail = msgspec.to_builtins(data)
        user = await user_service.set_admin(user_id, current_user, is_admin=data.is_admin)
        return UserView.of(user, services.authenticator.admins)

    @delete("/{user_id:uuid}", operation_id="deleteUser", scope=Scope.ADMIN)
    async def remove(
        self,
        user_id: FromPath[UUID],
        current_user: NamedDependency[CurrentUser],
        user_service: NamedDependency[UserService],
    ) -> None:
        """Delete a user with its jobs, files, presets, tags, keys and sessions."""
        await user_service.delete(user_id, current_user)

    @delete("/{user_id:uuid}/sessions", operation_id="endSessions", scope=Scope.ADMIN)
    async def end_sessions(self, user_id: FromPath[UUID], user_service: NamedDependency[UserService]) -> None:
        """Sign a user out everywhere. All its sessions are refused within a second."""
        await user_service.revoke_sessions(user_id)


@get(
    "/audit-log",
    tags=["accounts"],
    operation_id="listAudit",
    scope=Scope.ADMIN,
)
async def list_audit(
    audit_service: NamedDependency[AuditService],
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
) -> Page[AuditView]:
    """The changes by admins, newest first."""
    request = PageRequest(limit=limit, offset=offset, after=parse_after(after, offset))
    return page_view(await audit_service.get_page(request), request, AuditView.of)
