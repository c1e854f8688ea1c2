"""What a provider says about somebody, and the names that this may give them. Pure."""

import re
import secrets
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

_LONGEST_NAME: Final = 64
_LONGEST: Final = 255
_NUMBERED: Final = 9
_NAMELESS: Final = "user"


class Profile(Struct, frozen=True):
    """Somebody at a provider. *subject* never changes there; *email* is None unless the provider verified it.

    *username* is what they call themselves: a wish, and no proof of anything.
    """

    subject: str
    username: str
    email: str | None = None


class ProviderTokens(Struct, frozen=True):
    """What a provider lets the service read with. *expires_at* is in seconds since 1970; None: not told."""

    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        """Without values: they are secrets."""
        return "ProviderTokens()"


def is_subject(text: object) -> bool:
    """Whether *text* can tell people apart: it is kept as it is, so it must fit."""
    return isinstance(text, str) and 0 < len(text) <= _LONGEST and text.isprintable()


def verified_email(address: object, is_verified: object) -> str | None:
    """The e-mail address, where the provider says that it has verified it."""
    # Some say so in a text.
    if is_verified is not True and is_verified != "true":
        return None
    if not isinstance(address, str) or not address.isprintable() or " " in address:
        return None
    name, at, host = address.rpartition("@")
    return address if name and at and host and len(address) <= _LONGEST else None


def wished_name(*wishes: object) -> str:
    """The first of *wishes* that can be a username, made one line without spaces."""
    for wish in wishes:
        if isinstance(wish, str):
            name = "".join("-" if sign.isspace() else sign for sign in wish.strip())
            name = "".join(sign for sign in name if sign.isprintable())[:_LONGEST_NAME]
            if name:
                return name
    return _NAMELESS


def names_for(wish: str) -> Iterator[str]:
    """The names to try for somebody who wants that one: it, then it with a number, then with a random end."""
    yield wish
    for number in range(2, _NUMBERED + 1):
        yield f"{wish}-{number}"
    for _ in range(3):
        yield f"{wish}-{secrets.token_hex(4)}"


def is_name_for(wish: str, name: str) -> bool:
    """Whether *name* is one that somebody who wants *wish* may have been given."""
    return re.fullmatch(re.escape(wish) + "(-[2-9]|-[0-9a-f]{8})?", name) is not None
