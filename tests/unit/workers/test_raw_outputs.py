"""Outputs that an author wrote as JSON, and outputs with many numbers that are slow to decode."""

import time
from typing import Any

import msgspec
import pytest

from headrace.workers.outputs import encode_output
from headrace.workers.values import OutputError
from support.worker_builders import returning

WHAT = "the output of step 'mix'"


class Held(msgspec.Struct):
    inner: msgspec.Raw


def encoded(value: Any, shape: Any) -> str:
    return encode_output(returning(shape), "mix", value, 1_000_000)


def refused(value: Any, shape: Any) -> OutputError:
    with pytest.raises(OutputError) as caught:
        encoded(value, shape)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ("1e400", "Number out of range"),
        ('{"a":[0,-1e999]}', "Number out of range - at `$[...][1]`"),
        ("1" * 5_000, "Integer value out of range"),
    ],
    ids=["scalar", "nested", "integer"],
)
@pytest.mark.parametrize("shape", [Any, msgspec.Raw])
def test_a_number_that_cannot_be_read_is_refused(raw: str, place: str, shape: Any) -> None:
    error = refused(msgspec.Raw(raw.encode()), shape)

    assert error.code == "output_invalid"
    assert str(error) == f"{WHAT} cannot be stored as JSON: {place}"


def test_json_within_a_value_is_checked_and_its_place_is_named() -> None:
    error = refused(Held(msgspec.Raw(b'{"a":1e400,"b":"\\u0000"}')), Held)

    assert error.code == "output_invalid"
    assert str(error) == f"{WHAT} cannot be stored as JSON: Number out of range - at `$[...][...]`"
    assert encoded(Held(msgspec.Raw(b'{"a": 1e308}')), Held) == '{"inner":{"a": 1e308}}'


@pytest.mark.parametrize("shape", [Any, msgspec.Raw, dict[str, list[int]]])
def test_json_is_stored_as_one_line(shape: Any) -> None:
    assert encoded(msgspec.Raw(b'{\r\n"a\\n": [1,\n2]}'), shape) == '{  "a\\n": [1, 2]}'


@pytest.mark.parametrize("shape", [Any, list[float]])
def test_many_dear_numbers_are_checked_and_stored(shape: Any) -> None:
    began = time.process_time()

    assert encoded([1e308] * 100_000, shape) == f"[{','.join(['1e308'] * 100_000)}]"

    # msgspec takes several seconds to read them.
    assert time.process_time() - began < 1.5
