"""The fields of a log line, as they are stored."""

import math
from bisect import bisect_left
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workers.values import plain_fields

KEY = f"hr_0123456789ab_{'Kx-_7' * 8}abc"
# The text of one field may have this many bytes: `{"a":""}` around it takes 8 of the 8 KiB.
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
def test_fields_that_are_json_stay_as_they_are(fields: dict[str, Any]) -> None:
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
def test_what_has_a_form_in_json_is_kept_in_it(value: object, kept: object) -> None:
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
def test_what_has_no_form_in_json_is_kept_as_python_shows_it(value: object, kept: str) -> None:
    assert plain_fields({"value": value, "other": 1}) == {"value": kept, "other": 1}


def test_what_contains_itself_is_kept_as_python_shows_it() -> None:
    circle: list[Any] = []
    circle.append(circle)

    assert plain_fields({"value": circle}) == {"value": "[[...]]"}


@pytest.mark.parametrize("shown", [ValueError("no"), RecursionError()], ids=repr)
def test_what_cannot_even_be_shown_is_no_error(shown: Exception) -> None:
    assert plain_fields({"value": Shown(shown)}) == {"value": "(its text cannot be had)"}


def test_what_python_shows_is_cut_at_500_bytes() -> None:
    assert plain_fields({"value": Shown("x" * 500)}) == {"value": "x" * 500}
    assert plain_fields({"value": Shown("x" * 501)}) == {"value": "x" * 497 + "..."}


def test_a_name_is_cut_at_200_bytes_and_can_be_stored() -> None:
    assert plain_fields({"x" * 201: 1}) == {"x" * 197 + "...": 1}
    assert plain_fields({"a\0b\ud800": 1}) == {"a\N{SYMBOL FOR NULL}b?": 1}


def test_credentials_are_left_out_however_deep_they_stand() -> None:
    shown = "hr_0123456789ab_[redacted]"

    assert plain_fields({"sent": KEY, "deep": [{"a": f"by {KEY}"}]}) == {
        "sent": shown,
        "deep": [{"a": f"by {shown}"}],
    }
    assert plain_fields({"value": Shown(f"<client {KEY}>")}) == {"value": f"<client {shown}>"}


def test_fields_of_more_than_8_kib_are_dropped_and_said_to_be() -> None:
    assert plain_fields({"a": "x" * ROOM}) == {"a": "x" * ROOM}
    assert plain_fields({"a": "x" * (ROOM + 1)}) == {"dropped": "the fields had more than 8192 bytes"}


def test_no_fields_are_no_fields() -> None:
    assert plain_fields({}) == {}


def test_a_value_just_within_what_can_be_encoded_does_not_break_the_line_that_holds_it() -> None:
    deepest = bisect_left(range(20_000), True, key=is_too_deep)

    for levels in range(deepest - 8, deepest + 2):
        kept = plain_fields({"value": nested(levels)})

        assert msgspec.json.decode(msgspec.json.encode([[[kept]]])) == [[[kept]]]
