"""The limits of JSON that callers send: bytes once it is stored, depth, and no NUL characters. Pure."""

from itertools import accumulate
from typing import Any, Final

import msgspec

from headrace.domain.errors import HeadraceError

MAX_JSON_BYTES: Final = 256 * 1024
"""The limit of `params` and of `meta`, each."""

MAX_JSON_DEPTH: Final = 64
"""How deep arrays and objects may be nested: in a body, and in each JSON value that is stored.

The items of a step, and their outputs, are stored or read as an array, which is one of these levels.
"""

MAX_LOOP_CHARS: Final = 1 << 18
"""Decoding this much JSON, or encoding a value with texts of this length, takes a few milliseconds.

More belongs in a thread, so that the event loop goes on.
"""

ESCAPED_NUL: Final = b"\\u0000"
"""A NUL in JSON: where it is not found, no value or key contains one."""

_BRACES_TO_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_BRACKETS_TO_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(set(range(256)) - set(b'[]{}"'))


class JsonRefusedError(HeadraceError):
    """A caller's JSON exceeds a limit. *path* is where the value stands in the request."""

    path = "$"


class NestedTooDeepError(JsonRefusedError):
    """Arrays and objects are nested too deeply."""

    def __init__(self) -> None:
        super().__init__(f"the body is nested deeper than {MAX_JSON_DEPTH} levels")


class NulCharacterError(JsonRefusedError):
    """A text contains NUL, which PostgreSQL cannot store."""

    def __init__(self) -> None:
        super().__init__("a text holds the character NUL")


class ValueTooLargeError(JsonRefusedError):
    """JSON that a caller wants to store is too large."""

    def __init__(self, path: str) -> None:
        name = path.rpartition(".")[2]
        super().__init__(f"{name} has at most {MAX_JSON_BYTES} bytes as JSON")
        self.path = path


def is_too_large(encoded: bytes) -> bool:
    """Return whether JSON has more bytes than `MAX_JSON_BYTES`. Its columns keep the text as it is."""
    return len(encoded) > MAX_JSON_BYTES


def check_size(value: dict[str, Any], path: str) -> int:
    """Check that *value* is small enough to be stored. Return its bytes as JSON.

    Raises:
        ValueTooLargeError: it is too large.
    """
    encoded = msgspec.json.encode(value)
    if is_too_large(encoded):
        raise ValueTooLargeError(path)
    return len(encoded)


def has_nul(raw: bytes) -> bool:
    """Return whether a text or a key of the JSON *raw* contains NUL, which PostgreSQL cannot store."""
    # Without the escaped backslashes, only an escaped NUL looks like one.
    return ESCAPED_NUL in raw and ESCAPED_NUL in raw.replace(b"\\\\", b"")


def outside_strings(raw: bytes) -> bytes:
    """Return the JSON *raw* without its texts and keys. It has no loop over bytes in Python."""
    return b"".join(_without_escapes(raw).split(b'"')[::2])


def is_nested_deeper(raw: bytes, levels: int) -> bool:
    """Return whether arrays and objects of the JSON *raw* are nested more than *levels* deep.

    It runs on every request body before decoding, so it has no loop over bytes in Python. For invalid JSON
    the result may be either.
    """
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    # Two adjacent quotes are an empty string, or the end of one and the start of the next: without them the
    # same brackets are inside strings as before.
    brackets = (
        _without_escapes(raw).translate(_BRACES_TO_BRACKETS, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    )
    # Empty pairs are the most frequent and do not change the depth.
    brackets = b"".join(brackets.split(b'"')[::2]).replace(b"[]", b"")
    depths = accumulate(memoryview(brackets.translate(_BRACKETS_TO_STEPS)).cast("b"), initial=1)
    return max(depths) > levels


def _without_escapes(raw: bytes) -> bytes:
    """Return the JSON *raw* without escaped backslashes and quotes: each quote begins or ends a string."""
    if b"\\" not in raw:
        return raw
    return raw.replace(b"\\\\", b"").replace(b'\\"', b"")
