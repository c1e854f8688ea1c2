"""What a credential is good for. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right. `account` is for people alone: keys, sessions, everything that gives rights to others."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    ADMIN = "admin"
    ACCOUNT = "account"


EVERYTHING: Final = frozenset(Scope)
# What may be written on a key.
GRANTABLE: Final = ("jobs:read", "jobs:write", "files:read", "files:write", "files:*", "admin")


def rights_of(written: Iterable[str], *, is_admin: bool) -> frozenset[Scope]:
    """The rights that *written* scopes give to a key of somebody who may, or may not, be an admin.

    `files:*` is both of `files`. `admin` is everything but `account` for an admin, and nothing for others.
    """
    rights: set[Scope] = set()
    for name in written:
        if name == "files:*":
            rights |= {Scope.FILES_READ, Scope.FILES_WRITE}
        elif name == Scope.ADMIN:
            rights |= EVERYTHING - {Scope.ACCOUNT} if is_admin else set()
        elif name in GRANTABLE:
            rights.add(Scope(name))
    return frozenset(rights)
