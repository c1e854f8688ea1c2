"""The limits of JSON that callers send: bytes once it is stored, depth, and no NUL characters. Pure."""

import re
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

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"?')
_BRACES_TO_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_BRACKETS_TO_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(set(range(256)) - set(b'[]{}"'))


class ValueTooLargeError(HeadraceError):
    """JSON that a caller wants to store is too large. *path* is its path in the request."""

    def __init__(self, path: str) -> None:
        name = path.rpartition(".")[2]
        super().__init__(f"{name} has at most {MAX_JSON_BYTES} bytes as JSON")
        self.path = path


def is_too_large(encoded: bytes) -> bool:
    """Return whether JSON has more bytes than `MAX_JSON_BYTES`. Its columns keep the text as it is."""
    return len(encoded) > MAX_JSON_BYTES


def check_size(value: dict[str, Any], path: str) -> None:
    """Check that *value* is small enough to be stored.

    Raises:
        ValueTooLargeError: it is too large.
    """
    if is_too_large(msgspec.json.encode(value)):
        raise ValueTooLargeError(path)


def has_nul(value: Any) -> bool:
    """Return whether any string of *value* contains NUL, which PostgreSQL cannot store."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and "\0" in item:
            return True
        if isinstance(item, dict):
            pending += [*item, *item.values()]
        elif isinstance(item, list):
            pending += item
    return False


def is_nested_deeper(raw: bytes, levels: int) -> bool:
    """Return whether arrays and objects of the JSON *raw* are nested more than *levels* deep.

    It runs on every request body before decoding, so it has no loop over bytes in Python. For invalid JSON
    the result may be either.
    """
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    if b"\\" in raw:
        raw = _ESCAPE.sub(b"", raw)
    # Two adjacent quotes are an empty string, or the end of one and the start of the next: without them the
    # same brackets are inside strings as before.
    brackets = raw.translate(_BRACES_TO_BRACKETS, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING.sub(b"", brackets)
    # Empty pairs are the most frequent and do not change the depth.
    brackets = brackets.replace(b"[]", b"")
    depths = accumulate(memoryview(brackets.translate(_BRACKETS_TO_STEPS)).cast("b"), initial=1)
    return max(depths) > levels
