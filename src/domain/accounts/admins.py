"""Who is an admin: by the settings, or because another admin says so. Pure."""

from collections.abc import Iterable


class Admins:
    """The names in the settings: one with an `@` is an e-mail, any other a username."""

    def __init__(self, names: Iterable[str], *, trusts_usernames: bool) -> None:
        """*trusts_usernames* False: people choose their usernames, so those make nobody an admin."""
        given = frozenset(name for name in names if name)
        self._emails = frozenset(_folded(name) for name in given if "@" in name)
        self._usernames = frozenset(name for name in given if "@" not in name and trusts_usernames)

    def include(self, *, username: str, email: str | None, is_admin: bool) -> bool:
        """Whether somebody is an admin; *is_admin*: made one, whatever the settings say."""
        is_named = email is not None and _folded(email) in self._emails
        return is_admin or is_named or username in self._usernames


def _folded(email: str) -> str:
    """In small letters, if it is ASCII: `straße` and `strasse` would be one word, and are two domains."""
    return email.lower() if email.isascii() else email
