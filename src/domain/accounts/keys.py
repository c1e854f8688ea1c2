"""API keys: how they are made, told apart and kept. Pure.

A key has 256 random bits, so a plain digest keeps it: there is nothing to guess, and nothing to slow down.
"""

import hmac
import re
import secrets
from hashlib import sha256
from typing import Final

from msgspec import Struct

KEY_PREFIX: Final = "hr_"
_KEY: Final = re.compile(r"(hr_[0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)


class NewKey(Struct, frozen=True):
    """A key as it is shown, once, and what is kept of it."""

    text: str
    prefix: str
    digest: bytes


def make_key() -> NewKey:
    """A key that nobody else has."""
    prefix = KEY_PREFIX + secrets.token_hex(6)
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    return NewKey(text, prefix, _digest(text))


def prefix_of(text: str) -> str | None:
    """The part of a key that is no secret; None when *text* is no key."""
    match = _KEY.fullmatch(text)
    return match[1] if match else None


def is_key(text: str, digest: bytes) -> bool:
    """Whether *digest* was kept of this key; takes as long for a wrong one."""
    return hmac.compare_digest(_digest(text), digest)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
