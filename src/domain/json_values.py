"""What JSON holds, decoded or not. Pure."""

import re
from itertools import accumulate
from typing import Any, Final

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"?')
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b'[]{}"'))


def has_nul(value: Any) -> bool:
    """Whether the character NUL, which PostgreSQL cannot store, stands in any text of *value*."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and "\0" in one:
            return True
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return False


def strip_strings(raw: bytes) -> bytes:
    """The JSON *raw* without its texts and keys."""
    return _STRING.sub(b"", _ESCAPE.sub(b"", raw) if b"\\" in raw else raw)


def is_nested_deeper(raw: bytes, levels: int) -> bool:
    """Whether lists and objects of the JSON *raw* stand in each other more than *levels* deep.

    Asked of every body before it is decoded, so no byte of it is looked at by itself. What is no JSON may be
    judged either way.
    """
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    if b"\\" in raw:
        raw = _ESCAPE.sub(b"", raw)
    # Two quotes side by side are a text that is over, or two that become one: what is outside stays outside.
    brackets = raw.translate(_ONE_KIND, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING.sub(b"", brackets)
    # The innermost pairs, of which there are most.
    brackets = brackets.replace(b"[]", b"")
    depths = accumulate(memoryview(brackets.translate(_STEPS)).cast("b"), initial=1)
    return max(depths) > levels
