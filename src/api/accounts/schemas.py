"""The bodies of accounts, keys, job tokens and the audit log."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from headrace.api.schemas import Moment, view_of
from headrace.domain.accounts.admins import Admins
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.models import ApiKey, AuditEntry, User
from headrace.domain.accounts.scopes import Scope

KeyScope = Literal["jobs:read", "jobs:write", "files:read", "files:write", "files:*", "admin"]
KeyName = Annotated[str, Meta(min_length=1, max_length=100)]


class MeView(Struct, kw_only=True):
    """The caller. *auth* is what it has shown, *scopes* what that is good for."""

    id: UUID
    username: str
    email: str | None
    is_admin: bool
    auth: str
    scopes: list[str]

    @classmethod
    def of(cls, user: CurrentUser) -> "MeView":
        return view_of(
            cls,
            user,
            is_admin=user.acts_as_admin,
            auth=user.credential,
            scopes=sorted(user.scopes - (set() if user.acts_as_admin else {Scope.ADMIN})),
        )


class UserView(Struct, kw_only=True):
    """A user, for admins. *is_admin*: by `HEADRACE_ADMINS`, or made one."""

    id: UUID
    username: str
    email: str | None
    is_admin: bool
    created_at: datetime
    last_login_at: datetime | None

    @classmethod
    def of(cls, user: User, admins: Admins) -> "UserView":
        is_admin = admins.include(username=user.username, email=user.email, is_admin=user.is_admin)
        return view_of(cls, user, is_admin=is_admin)


class PatchUser(Struct, forbid_unknown_fields=True):
    """The body of PATCH /users/{id}."""

    is_admin: bool


class MakeApiKey(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /api-keys. Without *expires_at* the key is good until it is deleted."""

    name: KeyName
    scopes: Annotated[list[KeyScope], Meta(min_length=1, max_length=6)]
    expires_at: Moment | None = None


class ApiKeyView(Struct, kw_only=True):
    """A key, without itself."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyView":
        return view_of(cls, key)


class NewApiKeyView(ApiKeyView, kw_only=True):
    """A key just made; *key* is shown this once."""

    key: str

    @classmethod
    def made(cls, key: ApiKey, text: str) -> "NewApiKeyView":
        return view_of(cls, key, key=text)


class MakeJobToken(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /jobs/{id}/tokens. *scope* `cancel` is for watching, too; *expires_in* in seconds."""

    scope: Literal["read", "cancel"] = "read"
    expires_in: Annotated[int, Meta(ge=1, le=86_400)] = 3_600


class JobTokenView(Struct, kw_only=True):
    """A token for one job."""

    token: str
    scope: str
    expires_at: datetime


class AuditView(Struct, kw_only=True):
    """One thing that an admin did: the operation, and the object in its path or that it made.

    *detail* is what was asked, where the operation does not say it already.
    """

    id: UUID
    at: datetime
    actor_id: UUID
    actor: str
    action: str
    object_id: str | None
    detail: dict[str, Any] | None
    request_id: str | None

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditView":
        return view_of(cls, entry)
