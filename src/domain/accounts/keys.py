"""API keys: how they are generated, recognised and verified. Pure.

A key has 256 random bits and cannot be guessed, so its plain SHA-256 digest is stored. A slow hash
would add nothing.
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
    """A new key: its text, which is shown once, and the prefix and digest, which are stored."""

    text: str
    prefix: str
    digest: bytes


def make_key() -> NewKey:
    """Generate a random key."""
    prefix = KEY_PREFIX + secrets.token_hex(6)
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    return NewKey(text, prefix, _digest(text))


def prefix_of(text: str) -> str | None:
    """Return the part of a key that is not secret; None when *text* is not a key."""
    match = _KEY.fullmatch(text)
    return match[1] if match else None


def is_key(text: str, digest: bytes) -> bool:
    """Whether *digest* is the digest of this key, compared in constant time."""
    return hmac.compare_digest(_digest(text), digest)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
