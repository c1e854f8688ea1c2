"""Decides who is an admin: users named in the settings, and users whom an admin made one. Pure."""

from collections.abc import Iterable


class Admins:
    """The names in the setting `admins`: a name with an `@` is an e-mail, any other a username."""

    def __init__(self, names: Iterable[str], *, trusts_usernames: bool) -> None:
        """*trusts_usernames* False: users choose their own usernames, so a username makes nobody an admin."""
        non_empty = frozenset(name for name in names if name)
        self._emails = frozenset(_folded(name) for name in non_empty if "@" in name)
        self._usernames = frozenset(name for name in non_empty if "@" not in name and trusts_usernames)

    def include(self, *, username: str, email: str | None, is_admin: bool) -> bool:
        """Whether a user is an admin; *is_admin*: another admin has granted it."""
        is_named = email is not None and _folded(email) in self._emails
        return is_admin or is_named or username in self._usernames


def _folded(email: str) -> str:
    """Lower the case of an ASCII address only: casefolding would make `straße` and `strasse` one domain."""
    return email.lower() if email.isascii() else email
