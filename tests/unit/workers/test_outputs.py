"""Outputs of steps as they are stored: checked against their annotation, and read as they were returned."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workers.outputs import encode_output
from headrace.workers.values import OutputError
from support.worker_builders import new_node, returning

WHAT = "the output of step 'mix[3]'"
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


def encoded(value: Any, limit: int = LIMIT, shape: Any = Any) -> str:
    return encode_output(returning(shape), "mix[3]", value, limit)


def refused(value: Any, limit: int = LIMIT, shape: Any = Any) -> OutputError:
    with pytest.raises(OutputError) as caught:
        encoded(value, limit, shape)
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
        (msgspec.Raw(b'{"a": [1]}'), '{"a": [1]}'),
    ],
)
def test_return_values_of_steps_are_encoded_as_json(value: Any, json: str) -> None:
    assert encoded(value) == json


class Float(float):
    """A number as numpy has them."""


class Scalar:
    """A number as numpy has them, of a type of its own."""

    ndim = 0
    dtype = "float32"

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value


@pytest.mark.parametrize(
    ("value", "shape", "json"),
    [
        (Float(1.5), Any, "1.5"),
        (Scalar(2.5), float, "2.5"),
        ([Scalar(1), {"a": Float(2)}], Any, '[1,{"a":2.0}]'),
        ({1: "one"}, dict[int, str], '{"1":"one"}'),
        ((1, 2), list[int], "[1,2]"),
        ({3}, list[int], "[3]"),
        (Loudness(1), dict[str, Any], '{"lufs":1,"peak":null}'),
    ],
)
def test_values_that_fit_their_annotation_are_stored(value: Any, shape: Any, json: str) -> None:
    assert encoded(value, shape=shape) == json


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [float, Float, Scalar])
@pytest.mark.parametrize("shape", [Any, dict[str, list[float]], dict[str, list[float | None]]])
def test_numbers_that_json_does_not_have_are_refused_with_their_path(
    number: float, wrap: Callable[[float], Any], shape: Any
) -> None:
    error = refused({"peaks": [0.5, wrap(number)]}, shape=shape)

    assert error.code == "output_mismatch"
    assert str(error).startswith(f"{WHAT} ")
    assert str(error).endswith(f": JSON has no {number} - at `$.peaks[1]`")


@pytest.mark.parametrize(
    ("value", "shape", "reason"),
    [
        ("text", dict[str, Any], "Expected `object`, got `str`"),
        ({"peak": 1.0}, Loudness, "Object missing required field `lufs`"),
        ([1, "2"], list[int], "Expected `int`, got `str` - at `$[1]`"),
        (None, int, "Expected `int`, got `null`"),
        (1, None, "Expected `null`, got `int`"),
        ({"t": "yesterday"}, dict[str, datetime], "Invalid RFC3339 encoded datetime - at `$[...]`"),
    ],
)
def test_an_output_that_is_not_what_its_annotation_says_is_refused(
    value: Any, shape: Any, reason: str
) -> None:
    error = refused(value, shape=shape)

    assert error.code == "output_mismatch"
    assert str(error) == f"{WHAT} is not what its annotation says: {reason}"


def test_keys_that_would_be_read_as_text_are_refused_where_no_annotation_turns_them_back() -> None:
    error = refused({"by_number": [{1: "one"}]})

    assert error.code == "output_mismatch"
    assert str(error) == (
        f"{WHAT} would not be read as it was returned: the key 1 is int, JSON has only text"
        " - at `$.by_number[0]`"
    )


@pytest.mark.parametrize("levels", [64, 65])
def test_an_output_is_nested_at_most_as_deep_as_a_body(levels: int) -> None:
    if levels == 64:
        assert encoded(nested(64)) == "[" * 64 + "1" + "]" * 64
    else:
        assert refused(nested(65)).code == "output_invalid"


def test_the_outputs_of_items_are_together_nested_at_most_as_deep_as_a_body() -> None:
    node = new_node(for_each=lambda _: [])

    assert encode_output(node, "mix[3]", nested(63), LIMIT) == "[" * 63 + "1" + "]" * 63
    with pytest.raises(OutputError, match="is nested deeper than 63 levels") as caught:
        encode_output(node, "mix[3]", nested(64), LIMIT)
    assert caught.value.code == "output_invalid"


@pytest.mark.parametrize(
    "value", ["[1.10]", "[1e22]", "[-0.0]", "[123456789012345678901234567890]", '{"b":1,"a":2}']
)
def test_raw_json_is_stored_as_it_is(value: str) -> None:
    assert encoded(msgspec.Raw(value.encode())) == value


class LongDouble:
    """A number that numpy has no plain form for."""

    ndim = 0

    def item(self) -> Any:
        return self


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (True, "the key True is bool"),
        (None, "the key None is NoneType"),
        ((1, 2), "the key (1, 2) is tuple"),
        (7, "the key 7 is int"),
        (date(2030, 1, 2), "the key datetime.date(2030, 1, 2) is date"),
    ],
)
def test_a_key_that_is_no_text_is_named_with_its_path(key: Any, shown: str) -> None:
    error = refused({"a": [{"b": {key: 1}}]})

    assert error.code == "output_mismatch"
    assert str(error).startswith(f"{WHAT} ")
    assert str(error).endswith(f": {shown}, JSON has only text - at `$.a[0].b`")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (range(3), "a range is no JSON value"),
        (LongDouble(), "a LongDouble is no JSON value"),
        (1j, "a complex is no JSON value"),
        ("\ud800", "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"),
    ],
)
@pytest.mark.parametrize("wrap", [dict, Take])
def test_a_part_that_json_has_no_form_for_is_named_with_its_path(
    value: Any, reason: str, wrap: Callable[..., Any]
) -> None:
    error = refused({"a": [1, wrap(name=value)]})

    assert error.code == "output_invalid"
    assert str(error) == f"{WHAT} cannot be stored as JSON: {reason} - at `$.a[1].name`"


def test_a_value_that_contains_itself_many_times_is_refused_at_once() -> None:
    value: list[Any] = []
    value += [value, value, {"again": value}]

    assert refused(value).code == "output_invalid"
    assert (
        str(refused(nested(20_000))) == f"{WHAT} cannot be stored as JSON: it is nested deeper than 64 levels"
    )


@pytest.mark.parametrize("shape", [Any, msgspec.Raw])
def test_raw_json_that_is_no_utf_8_is_refused(shape: Any) -> None:
    error = refused(msgspec.Raw(b'"\xff"'), shape=shape)

    assert error.code == "output_invalid"
    assert str(error).startswith(f"{WHAT} cannot be stored as JSON: ")


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

    assert error.code in ("output_invalid", "output_mismatch")
    assert str(error).startswith(f"{WHAT} ")


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
    ("value", "path"),
    [
        ("a\0b", "$"),
        ({"a\0": 1}, "$['a\\x00']"),
        ({"a": [[{"b": "\0"}]]}, "$.a[0][0].b"),
        (msgspec.Raw(b'"\\u0000"'), "$"),
        ({"a": "\\u0000", "b": "\0"}, "$.b"),
    ],
)
def test_nul_characters_are_refused_anywhere_in_a_value(value: Any, path: str) -> None:
    error = refused(value)

    assert error.code == "output_invalid"
    assert str(error) == f"{WHAT} holds a NUL character, which cannot be stored - at `{path}`"


def test_a_text_that_only_looks_like_an_escaped_nul_is_stored() -> None:
    assert encoded("\\u0000") == '"\\\\u0000"'


@given(values(ANY))
def test_a_value_is_refused_only_if_one_of_its_texts_contains_nul(value: Any) -> None:
    if any("\0" in text for text in texts_of(value)):
        assert refused(value, 100_000).code == "output_invalid"
    else:
        assert msgspec.json.decode(encoded(value, 100_000)) == value
