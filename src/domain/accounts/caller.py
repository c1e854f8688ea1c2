"""Who asks, what that proves, and for how long. Pure."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from headrace.domain.accounts.reach import Reach
from headrace.domain.accounts.scopes import EVERYTHING, Scope
from headrace.domain.errors import HeadraceError

Refusal = Literal["token_missing", "token_expired", "token_invalid"]
Credential = Literal["local", "proxy", "session", "api_key", "job_token"]


class UnauthenticatedError(HeadraceError):
    """Nobody is known to ask. *code* tells a client whether to sign in, to refresh or to give up."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code = code


class ForbiddenError(HeadraceError):
    """The caller is known, and may not do that whoever owns the object."""


class CurrentUser(Struct, frozen=True, kw_only=True):
    """The caller. *credential* is what was shown, *credential_id* the session, API key or job that it names.

    A job token's caller is the job's owner, with no more than that job in reach. *is_admin_by_row*: an admin
    has made it one, and can take that back.
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

    @property
    def acts_as_admin(self) -> bool:
        """Whether this caller sees everybody's objects."""
        return self.is_admin and Scope.ADMIN in self.scopes

    @property
    def reach(self) -> Reach:
        """What this caller may touch."""
        if self.credential == "job_token":
            return Reach(self.id, self.credential_id)
        return Reach(None if self.acts_as_admin else self.id)

    @property
    def own(self) -> Reach:
        """What belongs to this caller, admin or not."""
        return Reach(self.id)

    def needs(self, scope: Scope) -> None:
        """Demand a right.

        Raises:
            ForbiddenError: the caller does not have it.
        """
        if scope is Scope.ADMIN and not self.acts_as_admin:
            raise ForbiddenError("only an admin may do that")
        if scope not in self.scopes:
            raise ForbiddenError(f"the credential lacks the scope {scope}")
