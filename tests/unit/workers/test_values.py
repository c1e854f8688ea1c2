"""Outputs and files of steps, as they are stored."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workers.values import OutputError, bytes_or_path, encode_value

WHAT = "the output of step 'mix'"
LIMIT = 1_000

CLEAN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.just("\0")


def values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    leaves = texts | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        leaves | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=10,
    )


class Loudness(msgspec.Struct):
    lufs: float
    peak: float | None = None


@dataclass
class Take:
    name: str


def encoded(value: Any, limit: int = LIMIT) -> str:
    return encode_value(value, WHAT, limit)


def refused(value: Any, limit: int = LIMIT) -> OutputError:
    with pytest.raises(OutputError) as caught:
        encoded(value, limit)
    return caught.value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *texts_of(list(value.values()))]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


@given(values(CLEAN))
def test_a_value_survives_encoding_and_decoding(value: Any) -> None:
    assert msgspec.json.decode(encoded(value, 100_000)) == value


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (None, "null"),
        ((1, "two", 3.5), '[1,"two",3.5]'),
        (Loudness(-14.0), '{"lufs":-14.0,"peak":null}'),
        (Take("first"), '{"name":"first"}'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (datetime(2030, 1, 2, tzinfo=UTC), '"2030-01-02T00:00:00Z"'),
        ({1: "one"}, '{"1":"one"}'),
        (msgspec.Raw(b'{"a": [1]}'), '{"a": [1]}'),
    ],
)
def test_return_values_of_steps_are_encoded_as_json(value: Any, json: str) -> None:
    assert encoded(value) == json


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_become_null(value: float) -> None:
    assert encoded({"peak": value}) == '{"peak":null}'


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {(1, 2): "a pair as a key"},
        "a lone surrogate \ud800",
        10**5_000,
        circle(),
        nested(20_000),
        msgspec.Raw(b"no json"),
        msgspec.Raw(b""),
        msgspec.Raw(b"[1] [2]"),
        msgspec.Raw(b'"\xff"'),
        msgspec.Raw(b'"\\ud800"'),
        msgspec.Raw(b'"\x00"'),
        msgspec.Raw(b"1e999"),
        msgspec.Raw(b"[" * 20_000 + b"]" * 20_000),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str | dict) else type(value).__name__,
)
def test_values_without_a_json_form_are_refused(value: Any) -> None:
    error = refused(value, 100_000)

    assert error.code == "output_invalid"
    assert str(error) == f"{WHAT} cannot be stored as JSON: {error.__cause__}"


@given(st.integers(min_value=0, max_value=40), st.integers(min_value=2, max_value=40))
def test_a_value_is_stored_up_to_the_limit_and_not_one_byte_more(length: int, limit: int) -> None:
    text = "x" * length

    if length + 2 <= limit:
        assert encoded(text, limit) == f'"{text}"'
    else:
        assert refused(text, limit).code == "output_too_large"


def test_the_error_of_an_oversized_value_names_its_size_and_the_limit() -> None:
    error = refused("x" * 99, 100)

    assert str(error) == f"{WHAT} has 101 bytes as JSON, at most 100 are stored; save a file instead"


@pytest.mark.parametrize(
    "value",
    ["a\0b", {"a\0": 1}, {"a": [[{"b": "\0"}]]}, msgspec.Raw(b'"\\u0000"'), {"a": "\\u0000", "b": "\0"}],
)
def test_nul_characters_are_refused_anywhere_in_a_value(value: Any) -> None:
    error = refused(value)

    assert error.code == "output_invalid"
    assert str(error) == f"{WHAT} holds a NUL character, which cannot be stored"


def test_a_text_that_only_looks_like_an_escaped_nul_is_stored() -> None:
    assert encoded("\\u0000") == '"\\\\u0000"'


@given(values(ANY))
def test_a_value_is_refused_only_if_one_of_its_texts_contains_nul(value: Any) -> None:
    if any("\0" in text for text in texts_of(value)):
        assert refused(value, 100_000).code == "output_invalid"
    else:
        assert msgspec.json.decode(encoded(value, 100_000)) == value


@pytest.mark.parametrize(
    "source", [b"RIFF", bytearray(b"RIFF"), memoryview(b"RIFF"), memoryview(b"R-I-F-F")[::2]]
)
def test_a_file_may_be_any_bytes_like_object(source: object) -> None:
    taken = bytes_or_path(source)

    assert taken == b"RIFF"
    assert type(taken) is bytes


def test_bytes_are_copied_when_they_are_passed() -> None:
    source = bytearray(b"RIFF")

    taken = bytes_or_path(source)
    source[:] = b"FORM"

    assert taken == b"RIFF"


@pytest.mark.parametrize("source", ["mixes/one.wav", Path("mixes/one.wav")])
def test_a_text_or_a_path_is_the_path_of_a_file(source: object) -> None:
    assert bytes_or_path(source) == Path("mixes/one.wav")


@pytest.mark.parametrize(
    ("source", "kind"), [(None, "NoneType"), (3, "int"), ([b"RIFF"], "list"), (Loudness(1), "Loudness")]
)
def test_other_types_are_refused_as_files(source: object, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        bytes_or_path(source)

    assert str(caught.value) == f"a file is bytes or a path, not {kind}"
