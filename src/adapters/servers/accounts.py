"""The accounts that a server may run as, when root starts it."""

import pwd
from dataclasses import dataclass
from typing import Final

from headrace.adapters.servers.errors import ServerError

_UNPRIVILEGED: Final = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as."""

    name: str
    uid: int
    gid: int


def account_of(uid: int) -> Account:
    """Return the account with this user id; one without a name gets the id as its name and group."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, uid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def unprivileged_accounts() -> list[Account]:
    """Return the accounts of this system that can run PostgreSQL in place of root.

    Raises:
        ServerError: there is none.
    """
    accounts = []
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        accounts.append(Account(entry.pw_name, entry.pw_uid, entry.pw_gid))
    if not accounts:
        raise ServerError(
            "PostgreSQL refuses to run as root and there is no user postgres or nobody: use another user"
        )
    return accounts
