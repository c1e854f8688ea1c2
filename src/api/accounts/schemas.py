"""The bodies of users, API keys, job tokens and the audit log."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from headrace.api.schemas import Timestamp, view_of
from headrace.domain.accounts.admins import Admins
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.models import ApiKey, AuditEntry, User
from headrace.domain.quotas.quotas import QuotaUsage

KeyScope = Literal["jobs:read", "jobs:write", "files:read", "files:write", "files:*", "metrics:read", "admin"]
KeyName = Annotated[str, Meta(min_length=1, max_length=100)]


class MeView(Struct, kw_only=True):
    """The caller. *auth* is the kind of its credential, *scopes* are the rights that it carries.

    *quotas* has those that are set. Uploads, streams and requests are counted by the process that answers.
    """

    id: UUID
    username: str
    email: str | None
    is_admin: bool
    auth: str
    scopes: list[str]
    quotas: dict[str, QuotaUsage]

    @classmethod
    def of(cls, user: CurrentUser, quotas: dict[str, QuotaUsage]) -> "MeView":
        return view_of(
            cls,
            user,
            is_admin=user.acts_as_admin,
            auth=user.credential,
            scopes=sorted(user.rights),
            quotas=quotas,
        )


class UserView(Struct, kw_only=True):
    """A user, as admins see it. *is_admin*: named in `HEADRACE_ADMINS`, or made an admin by another admin."""

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
    """The body of POST /api-keys. Without *expires_at* the key is valid until it is deleted."""

    name: KeyName
    scopes: Annotated[list[KeyScope], Meta(min_length=1, max_length=7)]
    expires_at: Timestamp | None = None


class ApiKeyView(Struct, kw_only=True):
    """An API key without its text."""

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
    """A new API key. Its text, *key*, is shown only here."""

    key: str

    @classmethod
    def of_new(cls, key: ApiKey, text: str) -> "NewApiKeyView":
        return view_of(cls, key, key=text)


class MakeJobToken(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /jobs/{id}/tokens. *scope* `cancel` includes `read`. *expires_in* is in seconds."""

    scope: Literal["read", "cancel"] = "read"
    expires_in: Annotated[int, Meta(ge=1, le=86_400)] = 3_600


class JobTokenView(Struct, kw_only=True):
    """A token for one job."""

    token: str
    scope: str
    expires_at: datetime


class AuditView(Struct, kw_only=True):
    """One change by an admin: the operation, and the object in its path or that it created.

    *detail* is the body of the request, where the operation alone does not tell what was changed.
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
