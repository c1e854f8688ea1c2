"""Checks on JSON before it is decoded."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.json_limits import is_nested_deeper

TRICKY = st.text(alphabet='[]{}"\\a,:', max_size=6)
VALUES = st.recursive(
    TRICKY | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.integers(min_value=1, max_value=8))
def test_the_depth_matches_the_decoded_value(value: Any, levels: int) -> None:
    raw = msgspec.json.encode(value)

    assert is_nested_deeper(raw, levels) == (depth(value) > levels)


@pytest.mark.parametrize(
    ("raw", "is_deeper"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b"[" * 65 + b"]" * 65, True),
        (b'{"a":' * 65 + b"1" + b"}" * 65, True),
        (b'["' + b"[" * 500 + b'"]', False),
        (b'["\\"' + b"[" * 500 + b'"]', False),
        (b"[" + b"[],{}," * 500 + b"[]]", False),
        (b"", False),
    ],
)
def test_sixty_four_levels_are_accepted_and_more_are_not(raw: bytes, is_deeper: bool) -> None:
    assert is_nested_deeper(raw, 64) is is_deeper


@pytest.mark.parametrize("part", [b"[],", b'"[",', b'"\\"",', b"["])
def test_the_depth_of_a_large_body_is_checked_quickly(part: bytes) -> None:
    raw = b"[" + part * (1_000_000 // len(part))
    began = time.thread_time()

    is_nested_deeper(raw, 64)

    assert time.thread_time() - began < 1
