"""Scopes: the rights that a credential carries. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right. API keys never have `account`: it covers keys and sessions, which give rights to others.

    `metrics:read` is the right to numbers of the jobs of all users, and only admins have it.
    """

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    METRICS_READ = "metrics:read"
    ADMIN = "admin"
    ACCOUNT = "account"


EVERYTHING: Final = frozenset(Scope)
# The scopes that a key may be created with.
GRANTABLE: Final = (
    "jobs:read",
    "jobs:write",
    "files:read",
    "files:write",
    "files:*",
    "metrics:read",
    "admin",
)
ADMIN_SCOPES: Final = frozenset({Scope.ADMIN, Scope.METRICS_READ})
"""The rights over what belongs to all users: only admins have them, and keys while their owner is one."""


def rights_of(granted: Iterable[str], *, is_admin: bool) -> frozenset[Scope]:
    """Return the rights of a key whose owner may be an admin.

    `files:*` stands for both scopes of `files`. `admin` stands for everything but `account` if the owner
    is an admin, and for nothing otherwise; nor does `metrics:read`.
    """
    rights: set[Scope] = set()
    for name in granted:
        if name == "files:*":
            rights |= {Scope.FILES_READ, Scope.FILES_WRITE}
        elif name == Scope.ADMIN:
            rights |= EVERYTHING - {Scope.ACCOUNT} if is_admin else set()
        elif name in GRANTABLE and (is_admin or name not in ADMIN_SCOPES):
            rights.add(Scope(name))
    return frozenset(rights)
