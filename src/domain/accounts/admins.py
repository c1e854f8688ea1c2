"""Who is an admin: by the settings, or because another admin says so. Pure."""

from collections.abc import Iterable


class Admins:
    """The names in the settings: one with an `@` is an e-mail, any other a username."""

    def __init__(self, names: Iterable[str], *, trusts_usernames: bool) -> None:
        """*trusts_usernames* False: people choose their usernames, so those make nobody an admin."""
        folded = {name.casefold() for name in names if name}
        self._emails = frozenset(name for name in folded if "@" in name)
        self._usernames = folded - self._emails if trusts_usernames else frozenset()

    def include(self, *, username: str, email: str | None, is_admin: bool) -> bool:
        """Whether somebody is an admin; *is_admin*: made one, whatever the settings say."""
        is_named = email is not None and email.casefold() in self._emails
        return is_admin or is_named or username.casefold() in self._usernames
