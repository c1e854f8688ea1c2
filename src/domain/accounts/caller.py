"""The caller of a request: its identity, its rights, and the credential that proved them. Pure."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from headrace.domain.accounts.reach import Reach
from headrace.domain.accounts.scopes import ADMIN_SCOPES, EVERYTHING, Scope
from headrace.domain.errors import HeadraceError

Refusal = Literal["token_missing", "token_expired", "token_invalid"]
Credential = Literal["local", "proxy", "session", "api_key", "job_token"]


class UnauthenticatedError(HeadraceError):
    """The request has no valid credential. *code* tells a client to sign in, to refresh or to give up."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code = code


class ForbiddenError(HeadraceError):
    """The caller lacks a right. Who owns the object does not matter."""


class CurrentUser(Struct, frozen=True, kw_only=True):
    """The caller. *credential* is the kind of proof, *credential_id* the id of its session, API key or job.

    A caller with a job token is the job's owner, but reaches only that job; *maker* is the caller that made
    the token. *is_admin_by_row*: an admin granted the rights and can withdraw them.
    """

    id: UUID
    username: str
    email: str | None = None
    is_admin: bool = False
    is_admin_by_row: bool = False
    scopes: frozenset[Scope] = EVERYTHING
    credential: Credential = "local"
    credential_id: UUID | None = None
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    maker: "CurrentUser | None" = None

    @property
    def acts_as_admin(self) -> bool:
        """Whether the caller sees the objects of all users."""
        return self.is_admin and Scope.ADMIN in self.scopes

    @property
    def reach(self) -> Reach:
        """The objects that the caller may read and change."""
        if self.credential == "job_token":
            return Reach(self.id, self.credential_id)
        return Reach(None if self.acts_as_admin else self.id)

    @property
    def numbers_of(self) -> UUID | None:
        """The user whose jobs the caller's numbers count; None: those of all users."""
        return None if self.rights & ADMIN_SCOPES else self.id

    @property
    def own(self) -> Reach:
        """The caller's own objects, for admins as well."""
        return Reach(self.id)

    @property
    def rights(self) -> frozenset[Scope]:
        """The scopes that count: without those of admins if the caller is none."""
        return self.scopes if self.is_admin else self.scopes - ADMIN_SCOPES

    def limited_by(self, maker: "CurrentUser") -> "CurrentUser":
        """Return this caller with no more rights, and for no longer, than *maker* has them."""
        ends = [end for end in (self.expires_at, maker.expires_at) if end is not None]
        return replace(
            self, scopes=self.scopes & maker.scopes, expires_at=min(ends, default=None), maker=maker
        )

    def needs(self, scope: Scope) -> None:
        """Demand a right.

        Raises:
            ForbiddenError: the caller does not have it.
        """
        if scope is Scope.ADMIN and not self.acts_as_admin:
            raise ForbiddenError("only an admin may do that")
        if scope in ADMIN_SCOPES and not self.is_admin:
            raise ForbiddenError("only an admin may do that")
        if scope not in self.scopes:
            raise ForbiddenError(f"the credential lacks the scope {scope}")
