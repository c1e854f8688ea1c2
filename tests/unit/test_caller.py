"""The rights of a caller: scopes of its credential, and admin rights."""

from uuid import UUID

import pytest

from headrace.domain.accounts.caller import CurrentUser, ForbiddenError
from headrace.domain.accounts.scopes import EVERYTHING, Scope

ADA = UUID(int=1)
NO_ADMIN = "only an admin may do that"


@pytest.mark.parametrize(
    ("is_admin", "scopes", "scope", "refusal"),
    [
        (False, EVERYTHING, Scope.ADMIN, NO_ADMIN),
        (True, EVERYTHING, Scope.ADMIN, None),
        (True, EVERYTHING - {Scope.ADMIN}, Scope.ADMIN, NO_ADMIN),
        (False, EVERYTHING, Scope.JOBS_WRITE, None),
        (True, frozenset({Scope.JOBS_READ}), Scope.JOBS_READ, None),
        (True, frozenset({Scope.JOBS_READ}), Scope.JOBS_WRITE, "the credential lacks the scope jobs:write"),
        (True, frozenset({Scope.ADMIN}), Scope.JOBS_READ, "the credential lacks the scope jobs:read"),
    ],
)
def test_the_credential_needs_the_scope_and_an_admin_scope_also_needs_an_admin(
    is_admin: bool, scopes: frozenset[Scope], scope: Scope, refusal: str | None
) -> None:
    caller = CurrentUser(id=ADA, username="ada", is_admin=is_admin, scopes=scopes)

    try:
        caller.needs(scope)
        message = None
    except ForbiddenError as error:
        message = str(error)

    assert message == refusal
