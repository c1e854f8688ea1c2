"""The fields of a log line, as they are stored."""

import math
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.json_limits import MAX_JSON_DEPTH, is_nested_deeper
from headrace.workers.log_fields import plain_fields

KEY = f"hr_0123456789ab_{'Kx-_7' * 8}abc"
# The text of one field may have this many bytes: `{"a":""}` around it takes 8 bytes of the 8 KiB.
ROOM = 8 * 1024 - 8
NO_JSON = msgspec.Raw(b"no json")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc é", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


class Shown:
    def __init__(self, shown: str | Exception) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        if isinstance(self._shown, Exception):
            raise self._shown
        return self._shown


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def is_too_deep(levels: int) -> bool:
    try:
        msgspec.json.encode(nested(levels))
    except RecursionError:
        return True
    return False


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4))
def test_json_fields_are_kept_unchanged(fields: dict[str, Any]) -> None:
    assert plain_fields(fields) == fields


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, 2), [1, 2]),
        (datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00Z"),
        (math.nan, None),
        (msgspec.Raw(b'{"a":1}'), {"a": 1}),
        (b"RIFF", "UklGRg=="),
    ],
)
def test_values_with_a_json_form_are_converted(value: object, kept: object) -> None:
    assert plain_fields({"value": value}) == {"value": kept}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Shown("<a mixer>"), "<a mixer>"),
        (Path("mixes/one.wav"), "PosixPath('mixes/one.wav')"),
        ("\ud800", "'\\ud800'"),
        ([1, Shown("<a mixer>")], "[1, <a mixer>]"),
        (NO_JSON, repr(NO_JSON)),
    ],
    ids=["object", "path", "surrogate", "within", "raw"],
)
def test_values_without_a_json_form_are_kept_as_their_repr(value: object, kept: str) -> None:
    assert plain_fields({"value": value, "other": 1}) == {"value": kept, "other": 1}


def test_a_recursive_value_is_kept_as_its_repr() -> None:
    circle: list[Any] = []
    circle.append(circle)

    assert plain_fields({"value": circle}) == {"value": "[[...]]"}


@pytest.mark.parametrize("shown", [ValueError("no"), RecursionError()], ids=repr)
def test_a_value_with_a_failing_repr_is_replaced(shown: Exception) -> None:
    assert plain_fields({"value": Shown(shown)}) == {"value": "(its text cannot be had)"}


def test_a_repr_is_cut_at_500_bytes() -> None:
    assert plain_fields({"value": Shown("x" * 500)}) == {"value": "x" * 500}
    assert plain_fields({"value": Shown("x" * 501)}) == {"value": "x" * 497 + "..."}


def test_a_name_is_cut_at_200_bytes_and_can_be_stored() -> None:
    assert plain_fields({"x" * 201: 1}) == {"x" * 197 + "...": 1}
    assert plain_fields({"a\0b\ud800": 1}) == {"a\N{SYMBOL FOR NULL}b?": 1}


def test_nul_characters_are_replaced_at_every_depth() -> None:
    null = "\N{SYMBOL FOR NULL}"

    assert plain_fields({"raw": "a\0b", "deep": [{"k\0": {"v": "\0"}}], "plain": "\\u0000"}) == {
        "raw": f"a{null}b",
        "deep": [{f"k{null}": {"v": null}}],
        "plain": "\\u0000",
    }


class Unbound:
    """A value that raises when it is looked at, as a proxy without its object does."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no object")


class Unreachable(dict[str, Any]):
    """A mapping whose backend is away."""

    def keys(self) -> Any:
        raise ConnectionError("away")

    values = items = keys


@pytest.mark.parametrize(
    "build",
    [Unbound, lambda: Unreachable(a=1), lambda: Mock(spec=str), lambda: Mock(spec=dict)],
    ids=["unbound", "unreachable", "like a text", "like a dictionary"],
)
def test_a_value_that_raises_does_not_fail_the_log_line(build: Callable[[], Any]) -> None:
    kept = plain_fields({"value": build(), "other": 1})

    assert kept["other"] == 1
    assert isinstance(kept["value"], str)


def test_credentials_are_redacted_at_every_depth() -> None:
    shown = "hr_0123456789ab_[redacted]"

    assert plain_fields({"sent": KEY, "deep": [{"a": f"by {KEY}"}]}) == {
        "sent": shown,
        "deep": [{"a": f"by {shown}"}],
    }
    assert plain_fields({"value": Shown(f"<client {KEY}>")}) == {"value": f"<client {shown}>"}


def test_fields_of_more_than_8_kib_are_replaced_by_a_note() -> None:
    assert plain_fields({"a": "x" * ROOM}) == {"a": "x" * ROOM}
    assert plain_fields({"a": "x" * (ROOM + 1)}) == {"dropped": "the fields had more than 8192 bytes"}


def test_empty_fields_stay_empty() -> None:
    assert plain_fields({}) == {}


def test_a_value_of_the_maximum_depth_can_be_encoded_inside_its_log_line() -> None:
    deepest = bisect_left(range(20_000), True, key=is_too_deep)

    for levels in range(deepest - 8, deepest + 2):
        kept = plain_fields({"value": nested(levels)})

        assert msgspec.json.decode(msgspec.json.encode([[[kept]]])) == [[[kept]]]


def test_a_log_line_is_nested_at_most_as_deep_as_a_body() -> None:
    kept, too_deep = plain_fields({"value": nested(62)}), plain_fields({"value": nested(63)})

    assert kept == {"value": nested(62)}
    assert too_deep == {"value": repr(nested(63))}
    assert not is_nested_deeper(msgspec.json.encode({"fields": kept}), MAX_JSON_DEPTH)


@pytest.mark.parametrize("value", [[Path("a")] * 9_000, "x" * 9_000], ids=["parts", "text"])
def test_fields_that_are_too_large_are_dropped_before_they_are_encoded(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msgspec.json, "encode", None)

    assert plain_fields({"value": value}) == {"dropped": "the fields had more than 8192 bytes"}
