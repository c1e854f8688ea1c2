"""A user's profile at a provider, and the usernames that follow from it. Pure."""

import re
import secrets
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

_MAX_NAME_LENGTH: Final = 64
_MAX_LENGTH: Final = 255
_MAX_NUMBER: Final = 9
_RANDOM_TRIES: Final = 3
_DEFAULT_NAME: Final = "user"


class Profile(Struct, frozen=True):
    """A user at a provider. *subject* never changes there; *email* is None unless the provider verified it.

    *username* is self-chosen there: a wish, never a proof of identity.
    """

    subject: str
    username: str
    email: str | None = None


class ProviderTokens(Struct, frozen=True):
    """Tokens to read with at a provider. *expires_at* is in seconds since 1970; None: unknown."""

    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        """Hide the values, since they are secrets."""
        return "ProviderTokens()"


def is_subject(text: object) -> bool:
    """Whether *text* can identify a user. It is stored unchanged, so it must fit the column."""
    return isinstance(text, str) and 0 < len(text) <= _MAX_LENGTH and text.isprintable()


def verified_email(address: object, is_verified: object) -> str | None:
    """Return the e-mail address if the provider says that it has verified it."""
    # Some providers send the flag as text.
    if is_verified is not True and is_verified != "true":
        return None
    if not isinstance(address, str) or not address.isprintable() or " " in address:
        return None
    name, at, host = address.rpartition("@")
    return address if name and at and host and len(address) <= _MAX_LENGTH else None


def wished_name(*wishes: object) -> str:
    """Return the first of *wishes* that can be a username, as one line without spaces."""
    for wish in wishes:
        if isinstance(wish, str):
            name = "".join("-" if character.isspace() else character for character in wish.strip())
            name = "".join(character for character in name if character.isprintable())[:_MAX_NAME_LENGTH]
            if name:
                return name
    return _DEFAULT_NAME


def names_for(wish: str) -> Iterator[str]:
    """Yield the usernames to try: the wished name, then with a number, then with a random suffix."""
    yield wish
    for number in range(2, _MAX_NUMBER + 1):
        yield f"{wish}-{number}"
    for _ in range(_RANDOM_TRIES):
        yield f"{wish}-{secrets.token_hex(4)}"


def is_name_for(wish: str, name: str) -> bool:
    """Whether *name* is one of the usernames that `names_for(wish)` may yield."""
    return re.fullmatch(re.escape(wish) + "(-[2-9]|-[0-9a-f]{8})?", name) is not None
